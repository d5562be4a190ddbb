import asyncio
from pathlib import Path

import pytest

from phosphene_server.errors import NotFound, WorkerLost
from phosphene_server.jobs.front_desk import FrontDesk
from phosphene_server.jobs.loaded import LoadedModels
from phosphene_server.jobs.patience import PatientWorker
from phosphene_server.models.repository import Repository
from phosphene_server.values.filter import ExtractFiltersRequest
from phosphene_server.values.image import EncodedImage
from phosphene_server.values.kernel import ApplyKernelRequest, LayerKernel, NamedKernel
from phosphene_server.values.model import ListModelsRequest, ModelReference
from phosphene_server.values.work import ApplyKernel, DescribeModel, ExtractFilters, UnloadModel
from tests.unit.jobs.front_fakes import FakeWorker, filters, make_root

NET = ModelReference("net", "1", "onnx")


@pytest.fixture
async def worker() -> FakeWorker:
    return FakeWorker()


@pytest.fixture
async def desk(tmp_path: Path, worker: FakeWorker) -> FrontDesk:
    repository = Repository(make_root(tmp_path / "root", "a", "b", "c", "net"), bundled=tmp_path / "none")
    return FrontDesk(repository, worker, LoadedModels(2))


async def loaded_names(desk: FrontDesk) -> list[str]:
    return [model.name for model in (await desk.list_models(ListModelsRequest())).models if model.loaded]


async def test_models_come_in_pages(desk: FrontDesk) -> None:
    first = await desk.list_models(ListModelsRequest(page_size=3))
    second = await desk.list_models(ListModelsRequest(page_size=3, page_token=first.next_page_token))
    assert [model.name for model in first.models] == ["a", "b", "c"]
    assert ([model.name for model in second.models], second.next_page_token) == (["net"], "")


async def test_listing_asks_nothing_of_the_worker(desk: FrontDesk, worker: FakeWorker) -> None:
    await desk.list_models(ListModelsRequest())
    assert worker.tasks == []


async def test_the_list_tells_what_the_worker_holds(desk: FrontDesk) -> None:
    for name in ("a", "b", "a", "c"):
        await desk.describe_model(ModelReference(name))
    assert await loaded_names(desk) == ["a", "c"]
    await desk.unload_model(ModelReference("a"))
    assert await loaded_names(desk) == ["c"]


async def test_a_model_is_described_by_its_complete_reference(desk: FrontDesk, worker: FakeWorker) -> None:
    assert (await desk.describe_model(ModelReference("net"))).reference == NET
    (task,) = worker.tasks
    assert isinstance(task, DescribeModel)
    assert task.source.sha256


async def test_filters_are_asked_of_the_model_that_was_found(desk: FrontDesk, worker: FakeWorker) -> None:
    reply = await desk.extract_filters(ExtractFiltersRequest(ModelReference("net"), "conv1"))
    assert reply.figure == filters().figure
    (task,) = worker.tasks
    assert isinstance(task, ExtractFilters)
    assert task.source.reference == NET


async def test_only_a_kernel_of_a_layer_needs_a_model(desk: FrontDesk, worker: FakeWorker) -> None:
    images = (EncodedImage(b"x"),)
    await desk.apply_kernel(ApplyKernelRequest(images, NamedKernel("box")))
    await desk.apply_kernel(ApplyKernelRequest(images, LayerKernel(ModelReference("net"), "conv1")))
    sources = [task.source for task in worker.tasks if isinstance(task, ApplyKernel)]
    assert [source and source.reference for source in sources] == [None, NET]
    with pytest.raises(NotFound) as caught:
        await desk.apply_kernel(ApplyKernelRequest(images, LayerKernel(ModelReference("none"), "conv1")))
    assert caught.value.field == "kernel.layer.model.name"


async def test_unloading_names_the_complete_reference(desk: FrontDesk, worker: FakeWorker) -> None:
    assert await desk.unload_model(ModelReference("net"))
    assert worker.tasks == [UnloadModel(NET)]


# A worker that still starts


async def test_callers_wait_until_the_worker_has_started(worker: FakeWorker) -> None:
    worker.ready.clear()
    patient = PatientWorker(worker)
    patient.begin(lambda _: None)
    running = asyncio.ensure_future(patient.run(UnloadModel(NET)))
    await asyncio.sleep(0.01)
    assert worker.tasks == []
    worker.ready.set()
    assert await running is True


async def test_a_start_that_fails_is_told_to_every_caller(worker: FakeWorker) -> None:
    worker.start_error = WorkerLost("no device")
    patient = PatientWorker(worker)
    patient.begin(lambda _: None)
    for _ in range(2):
        with pytest.raises(WorkerLost, match="no device"):
            await patient.run(UnloadModel(NET))


async def test_a_caller_that_leaves_does_not_stop_the_start(worker: FakeWorker) -> None:
    worker.ready.clear()
    patient = PatientWorker(worker)
    patient.begin(lambda _: None)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(patient.run(UnloadModel(NET)), 0.01)
    worker.ready.set()
    assert await patient.run(UnloadModel(NET)) is True


async def test_a_worker_can_be_stopped_while_it_starts(worker: FakeWorker) -> None:
    worker.ready.clear()
    patient = PatientWorker(worker)
    patient.begin(lambda _: None)
    await patient.stop()
    assert worker.stopped
