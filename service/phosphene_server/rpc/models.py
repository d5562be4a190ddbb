"""ModelService and ModelAdminService."""

from phosphene.v1 import model_pb2 as pb
from phosphene.v1.model_pb2_grpc import ModelAdminServiceServicer, ModelServiceServicer
from phosphene_server.errors import NotEnabled
from phosphene_server.jobs.front_desk import FrontDesk
from phosphene_server.rpc.codec import to_message, to_value
from phosphene_server.values import model as values


class ModelServicer(ModelServiceServicer):
    """Tells which models there are and what is in them."""

    def __init__(self, desk: FrontDesk) -> None:
        """Take the desk that does the work."""
        self._desk = desk

    async def ListModels(self, request: pb.ListModelsRequest, context: object) -> pb.ListModelsResponse:
        """List the models of the repository."""
        page = await self._desk.list_models(to_value(request, values.ListModelsRequest))
        return to_message(page, pb.ListModelsResponse)

    async def GetModel(self, request: pb.GetModelRequest, context: object) -> pb.GetModelResponse:
        """Describe one model."""
        model = await self._desk.describe_model(to_value(request, values.GetModelRequest).model)
        return to_message(values.GetModelResponse(model), pb.GetModelResponse)


class ModelAdminServicer(ModelAdminServiceServicer):
    """Loads and unloads models, if the operator lets it."""

    def __init__(self, desk: FrontDesk, *, enabled: bool) -> None:
        """Take the desk that does the work, and whether it may."""
        self._desk = desk
        self._enabled = enabled

    async def LoadModel(self, request: pb.LoadModelRequest, context: object) -> pb.LoadModelResponse:
        """Load a model."""
        self._check_enabled()
        model = await self._desk.describe_model(to_value(request, values.LoadModelRequest).model)
        return to_message(values.LoadModelResponse(model), pb.LoadModelResponse)

    async def UnloadModel(self, request: pb.UnloadModelRequest, context: object) -> pb.UnloadModelResponse:
        """Unload a model."""
        self._check_enabled()
        unloaded = await self._desk.unload_model(to_value(request, values.UnloadModelRequest).model)
        return to_message(values.UnloadModelResponse(unloaded), pb.UnloadModelResponse)

    def _check_enabled(self) -> None:
        if not self._enabled:
            raise NotEnabled("loading and unloading models", "model_admin")
