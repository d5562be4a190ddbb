"""Models, filters and kernels: finds the model that a request names, and asks the worker."""

import asyncio
from dataclasses import replace
from typing import TypeVar

from phosphene_server.jobs.loaded import LoadedModels
from phosphene_server.jobs.pages import number_of, page_of
from phosphene_server.models.repository import Repository
from phosphene_server.values.filter import ExtractFiltersRequest, ExtractFiltersResponse
from phosphene_server.values.kernel import ApplyKernelRequest, ApplyKernelResponse, LayerKernel
from phosphene_server.values.model import ListModelsRequest, ListModelsResponse, Model, ModelReference
from phosphene_server.values.work import ApplyKernel, DescribeModel, ExtractFilters, ModelSource, Task, UnloadModel
from phosphene_server.workers.protocol import Worker

Reply = TypeVar("Reply")


class FrontDesk:
    """Answers everything that is short."""

    def __init__(self, repository: Repository, worker: Worker, loaded: LoadedModels) -> None:
        """Take the models, the worker, and what notes which of them it holds."""
        self._repository = repository
        self._worker = worker
        self._loaded = loaded

    async def list_models(self, request: ListModelsRequest) -> ListModelsResponse:
        """Return a page of the models.

        Raises:
            InvalidArgument: the page token is not one of ours.
        """
        start = number_of(request.page_token) or 0
        models = await asyncio.to_thread(self._repository.list)
        page, more = page_of(models, start=start, size=request.page_size)
        return ListModelsResponse(
            tuple(replace(model, loaded=self._loaded.holds(model.name, model.version)) for model in page),
            next_page_token=str(start + request.page_size) if more else "",
        )

    async def describe_model(self, reference: ModelReference) -> Model:
        """Load a model if needed and describe it.

        Raises:
            NotFound: there is no such model.
            ModelUnusable: it cannot be used.
        """
        source = await self._source(reference)
        return await self._ask(DescribeModel(source), Model, source)

    async def unload_model(self, reference: ModelReference) -> bool:
        """Have the worker forget a model; return whether it was loaded.

        Raises:
            NotFound: there is no such model.
            ModelBusy: a maximization uses it.
        """
        file = await asyncio.to_thread(self._repository.find, reference)
        unloaded = await self._ask(UnloadModel(file.reference), bool)
        self._loaded.unloaded(file.reference)
        return unloaded

    async def extract_filters(self, request: ExtractFiltersRequest) -> ExtractFiltersResponse:
        """Return the filters of a layer.

        Raises:
            NotFound, ModelUnusable, LayerUnusable: the model or the layer is not there or cannot be used.
        """
        source = await self._source(request.model)
        return await self._ask(ExtractFilters(source, request), ExtractFiltersResponse, source)

    async def apply_kernel(self, request: ApplyKernelRequest) -> ApplyKernelResponse:
        """Slide a kernel over images.

        Raises:
            InvalidArgument: an image or the kernel is wrong.
            NotFound, ModelUnusable, LayerUnusable: the model or the layer is not there or cannot be used.
        """
        source = None
        if isinstance(request.kernel, LayerKernel):
            source = await self._source(request.kernel.model, field="kernel.layer.model")
        return await self._ask(ApplyKernel(source, request), ApplyKernelResponse, source)

    async def _source(self, reference: ModelReference, *, field: str = "model") -> ModelSource:
        return await asyncio.to_thread(self._repository.resolve, reference, field=field)

    async def _ask(self, task: Task, kind: type[Reply], source: ModelSource | None = None) -> Reply:
        """Have the worker do a task that uses a model or none."""
        reply = await self._worker.run(task)
        if source is not None:
            self._loaded.used(source.reference)
        assert isinstance(reply, kind), f"the worker answered {type(task).__name__} with {type(reply).__name__}"
        return reply
