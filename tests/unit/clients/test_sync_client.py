"""The blocking client against a scripted server."""

import numpy as np
import pytest
from fake_service import FRAME_STEPS, array
from PIL import Image

import phosphene
from phosphene import errors, objectives
from phosphene.v1 import kernel_pb2


def test_models_are_listed_over_all_pages(client):
    assert [(model.name, model.version) for model in client.models()] == [("tiny", "2"), ("tiny", "1")]
    assert client.models()[0].formats == ("onnx", "torch_export")


def test_a_model_tells_its_layers(client):
    model = client.model("tiny")
    assert [(layer.name, layer.kind, layer.shape) for layer in model.layers] == [
        ("conv1", "convolution", (8, 16, 16)),
        ("fc", "linear", (2,)),
    ]
    assert model.preprocessing.channel_order == "rgb"
    assert model.preprocessing.size == (16, 16)
    assert model.inputs[0].data_type == "float32"
    assert model.parity is not None
    assert model.layer("fc").filter_shape == (2, 8)


def test_a_model_tells_what_its_layers_see_and_cost(client):
    model = client.model("tiny")
    first, last = model.layers
    field = first.receptive_field
    assert (field.height, field.width, field.whole_picture, str(field)) == (3, 3, False, "3x3 /1x2")
    assert field.grid.pixel(2, 3) == (2.0, 6.5)
    assert (first.multiply_accumulates, model.multiply_accumulates) == (55296, 1_234_567)
    assert (last.receptive_field, first.gradient_reaches_input, last.gradient_reaches_input) == (None, True, False)


def test_a_model_shows_its_layers_as_a_table(client):
    assert "<td>conv1</td><td>convolution</td><td>8 × 16 × 16</td>" in client.model("tiny")._repr_html_()


def test_an_unknown_layer_of_a_model_is_not_found(client):
    with pytest.raises(errors.NotFound, match="conv9"):
        client.model("tiny").layer("conv9")


def test_filters_are_arrays_and_a_pillow_image(client):
    filters = client.extract_filters("tiny", layer="conv1", filters=[1, 0], normalization="symmetric")
    np.testing.assert_array_equal(filters.weights, np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3))
    assert filters.bias is not None
    assert filters.bias.dtype == np.float32
    assert [item.dead for item in filters.statistics] == [False, True]
    assert isinstance(filters.figure, Image.Image)
    assert filters.caption == "conv1: shown 2 of 2"
    assert filters._repr_png_().startswith(b"\x89PNG")


def test_the_choices_of_filters_reach_the_server(client, service):
    client.extract_filters("tiny", "conv1", filters=[1, 0], normalization="symmetric", enlargement=4, tile_limit=9)
    [request] = service.filters.requests
    assert (list(request.filters), request.figure.normalization) == ([1, 0], 3)
    assert (request.figure.enlargement, request.figure.tile_limit) == (4, 9)


def test_one_image_gives_its_response_directly(client):
    response = client.apply_kernel(Image.new("RGB", (6, 4)), kernel="laplacian")
    assert response.values.shape == (1, 1, 4, 6)
    assert response.values.dtype == np.float32
    assert response.picture.size == (6, 4)
    assert response.overlay is not None
    assert response.scale == 0.5


def test_several_images_give_a_response_each(client):
    responses = client.apply_kernel([np.zeros((4, 6)), np.ones((4, 6))], kernel="box")
    assert responses.values.shape == (2, 1, 4, 6)
    assert [response.scale for response in responses] == [0.5, 1.5]
    assert responses[1].picture.getpixel((0, 0)) == (1, 0, 0)
    with pytest.raises(ValueError, match="2 images"):
        _ = responses.picture


def test_the_choices_of_a_kernel_reach_the_server(client, service):
    kernel = phosphene.layer_kernel("tiny", "conv1", filters=[3], bias=False)
    client.apply_kernel(
        np.zeros((4, 6)), kernel, channels="per_channel", flip=True, stride=2, dilation=(1, 3), padding="zeros"
    )
    [request] = service.filters.requests
    assert (request.kernel.layer.layer, list(request.kernel.layer.filters)) == ("conv1", [3])
    assert request.kernel.layer.HasField("bias")
    assert not request.kernel.layer.HasField("preprocess")
    assert (request.stride.rows, request.stride.columns) == (2, 2)
    assert (request.dilation.rows, request.dilation.columns) == (1, 3)
    assert (request.channels, request.padding, request.flip) == (2, 2, True)


def test_a_kernel_without_a_direction_is_the_horizontal_one(client, service):
    client.apply_kernel(Image.new("RGB", (6, 4)), kernel="scharr")
    assert service.filters.requests[0].kernel.named == kernel_pb2.KERNEL_NAME_SCHARR_X


def test_a_kernel_written_by_hand_is_sent_as_numbers(client, service):
    client.apply_kernel(np.zeros((4, 6)), [[0, 1], [2, 3]])
    np.testing.assert_array_equal(array(service.filters.requests[0].kernel.values), [[0, 1], [2, 3]])


def test_iterating_a_run_gives_its_frames(client):
    run = client.maximize("tiny", objectives.class_logit("star"), steps=64)
    frames = list(run)
    assert tuple(frame.step for frame in frames) == FRAME_STEPS
    assert frames[0].image.getpixel((0, 0)) == (16, 0, 0)
    np.testing.assert_array_equal(frames[1].objective, [32.0])
    assert frames[0].dropped == 0


def test_the_result_comes_after_the_frames_and_without_them(client):
    for iterate in (True, False):
        run = client.maximize("tiny", objectives.class_logit("star"), steps=64)
        if iterate:
            list(run)
        result = run.result()
        assert result.images.shape == (1, 4, 6, 3)
        assert result.images.dtype == np.uint8
        assert result.history.shape == (64, 1)
        assert (result.stop_reason, result.step, result.tensors) == ("steps", 64, None)
        np.testing.assert_array_equal(result.objective, [12.5])


def test_a_run_tells_its_id_settings_progress_and_warnings(client):
    run = client.maximize("tiny", objectives.channel("conv1", 3), steps=64, size=(4, 6))
    assert (run.id, run.settings.seed, run.settings.size) == ("job-1", 7, (4, 6))
    assert run.progress is None
    run.result()
    assert run.progress is not None
    assert (run.progress.step, run.progress.remaining_seconds) == (48, 1.0)
    assert [warning.reason for warning in run.warnings] == ["NO_GRADIENT"]


def test_events_come_in_order_with_the_result_last(client):
    run = client.maximize("tiny", objectives.channel("conv1", 3))
    kinds = [type(event).__name__ for event in run.events()]
    assert kinds == ["Progress", "Frame"] * 3 + ["MaximizationWarning", "Result"]


def test_several_pictures_come_in_every_frame_and_in_the_result(client):
    run = client.maximize("tiny", objectives.channel("conv1", 3), pictures=3, tensors=True)
    frame = next(iter(run))
    assert [picture.getpixel((0, 0))[2] for picture in frame.images] == [0, 1, 2]
    result = run.result()
    assert result.images.shape == (3, 4, 6, 3)
    assert result.tensors is not None
    assert result.tensors.shape == (3, 3, 4, 6)
    assert result._repr_png_().startswith(b"\x89PNG")


def test_closing_a_run_ends_the_call_on_the_server(client, service):
    service.maximizations.hang_after_frames = True
    with client.maximize("tiny", objectives.channel("conv1", 3)) as run:
        next(iter(run))
    for _ in range(100):
        if service.maximizations.closed.is_set():
            break
        client.models()
    assert service.maximizations.closed.is_set()
    with pytest.raises(errors.Cancelled):
        run.result()


def test_cancel_asks_the_server(client, service):
    run = client.maximize("tiny", objectives.channel("conv1", 3))
    assert run.cancel()
    assert service.maximizations.cancelled == ["job-1"]


def test_an_interrupted_wait_cancels_the_job(client, service, monkeypatch):
    run = client.maximize("tiny", objectives.channel("conv1", 3))
    wait = run._loop.run
    interrupted = iter([True])

    def interrupt(answer):
        if next(interrupted, False):
            answer.close()
            raise KeyboardInterrupt
        return wait(answer)

    monkeypatch.setattr(run._loop, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.result()
    assert service.maximizations.cancelled == ["job-1"]


def test_an_interrupted_watch_leaves_the_job_alone(client, service, monkeypatch):
    run = client.watch("job-1")

    def interrupt(answer):
        answer.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(run._loop, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.result()
    assert service.maximizations.cancelled == []


def test_a_job_is_watched_by_its_id(client, service):
    run = client.watch("job-1", from_step=16)
    assert [frame.step for frame in run] == list(FRAME_STEPS)
    assert run.result().step == 64
    assert service.maximizations.requests[-1].from_step == 16


def test_jobs_are_described_and_listed_over_all_pages(client):
    job = client.maximization("b")
    assert (job.id, job.state, job.progress.step) == ("b", "running", 3)
    assert job.settings.objective == objectives.layer("conv1")
    assert [job.id for job in client.maximizations()] == ["b", "a"]


def test_a_safe_call_is_retried_until_the_server_answers(client, service):
    service.models.failures_before_answer = 2
    assert client.models()


def test_the_methods_keep_the_documentation_of_the_asynchronous_client():
    assert phosphene.Client.maximize.__doc__ == phosphene.aio.Client.maximize.__doc__


def test_a_forgotten_client_closes_itself(service):
    client = phosphene.connect(service.address)
    client.models()
    finalizer = client._finalizer
    del client
    assert not finalizer.alive


def test_a_client_that_is_collected_in_its_own_loop_closes_itself(service):
    client = phosphene.connect(service.address)
    loop, finalizer = client._loop, client._finalizer

    async def forget():
        finalizer()

    loop.run(forget())
    loop._thread.join(10)
    assert not loop._thread.is_alive()


def test_a_run_keeps_its_client_alive(service):
    run = phosphene.connect(service.address).maximize("tiny", objectives.layer("conv1"))
    assert run.result().step == 64


def test_closing_twice_does_nothing(client):
    client.close()
    client.close()
