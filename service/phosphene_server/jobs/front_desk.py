"""Models, filters and kernels: finds the model that a request names, and asks the worker."""

import asyncio
from collections import OrderedDict
from dataclasses import replace
from typing import TypeVar

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

    def __init__(self, repository: Repository, worker: Worker) -> None:
        """Take the models and the worker."""
        self._repository = repository
        self._worker = worker

    async def list_models(self, request: ListModelsRequest) -> ListModelsResponse:
        """Return a page of the models.

        Raises:
            InvalidArgument: the page token is not one of ours.
        """
        start = number_of(request.page_token) or 0
        models = await asyncio.to_thread(self._repository.list)
        page, more = page_of(models, start=start, size=request.page_size)
        return ListModelsResponse(tuple(page), next_page_token=str(start + request.page_size) if more else "")

    async def describe_model(self, reference: ModelReference) -> Model:
        """Load a model if needed and describe it.

        Raises:
            NotFound: there is no such model.
            ModelUnusable: it cannot be used.
        """
        source = await self._source(reference)
        return await self._ask(DescribeModel(source), Model)

    async def unload_model(self, reference: ModelReference) -> bool:
        """Have the worker forget a model; return whether it was loaded.

        Raises:
            NotFound: there is no such model.
            ModelBusy: a maximization uses it.
        """
        file = await asyncio.to_thread(self._repository.find, reference)
        return await self._ask(UnloadModel(file.reference), bool)

    async def extract_filters(self, request: ExtractFiltersRequest) -> ExtractFiltersResponse:
        """Return the filters of a layer.

        Raises:
            NotFound, ModelUnusable, LayerUnusable: the model or the layer is not there or cannot be used.
        """
        source = await self._source(request.model)
        return await self._ask(ExtractFilters(source, request), ExtractFiltersResponse)

    async def apply_kernel(self, request: ApplyKernelRequest) -> ApplyKernelResponse:
        """Slide a kernel over images.

        Raises:
            InvalidArgument: an image or the kernel is wrong.
            NotFound, ModelUnusable, LayerUnusable: the model or the layer is not there or cannot be used.
        """
        source = None
        if isinstance(request.kernel, LayerKernel):
            source = await self._source(request.kernel.model, field="kernel.layer.model")
        return await self._ask(ApplyKernel(source, request), ApplyKernelResponse)

    async def _source(self, reference: ModelReference, *, field: str = "model") -> ModelSource:
        return await asyncio.to_thread(self._repository.resolve, reference, field=field)

    async def _ask(self, task: Task, kind: type[Reply]) -> Reply:
        reply = await self._worker.run(task)
        assert isinstance(reply, kind), f"the worker answered {type(task).__name__} with {type(reply).__name__}"
        return reply
