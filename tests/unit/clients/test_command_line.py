"""The commands against a scripted server."""

import io
import sys
from dataclasses import fields

import numpy as np
import pytest
import typer
from fake_service import FRAME_STEPS, array, png
from rich.console import Console
from typer.testing import CliRunner

import phosphene.cli.serve
from phosphene import errors, objectives
from phosphene.cli import app
from phosphene.cli.kernel_syntax import parse_kernel
from phosphene.cli.layer_table import layer_table, short_number
from phosphene.cli.models import _input_facts
from phosphene.cli.numbers import named_values, picture_size, whole_numbers
from phosphene.cli.objective_syntax import parse_objective
from phosphene.kernels import layer_kernel
from phosphene.models import Layer, Model, PixelGrid, Preprocessing, ReceptiveField, TensorSpecification
from phosphene.pictures import decode
from phosphene.v1 import maximization_pb2


@pytest.fixture
def command(service, tmp_path, monkeypatch):
    """Run a command in an empty folder, with the scripted server as the one to speak with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHOSPHENE_SERVER", service.address)
    return lambda *words: CliRunner().invoke(app, list(words))


def test_models_lists_them(command):
    answer = command("models")
    assert answer.exit_code == 0
    assert "tiny   2        onnx, torch_export  Small." in answer.stdout


def test_models_show_has_the_table_of_layers(command):
    answer = command("models", "show", "tiny")
    assert answer.exit_code == 0
    assert "conv1  convolution  8 x 16 x 16  8 x 3 x 3 x 3  3x3 /1x2     55.3K         224" in answer.stdout
    assert "fc     linear       2            2 x 8          no gradient                 18" in answer.stdout
    assert "1.23M multiply-accumulates per picture" in answer.stdout
    assert "2: star, ring" in answer.stdout
    assert "within 1.0e-06 of 3 of onnxruntime 1" in answer.stdout


@pytest.mark.parametrize(("width", "headings"), [(120, {"filters", "sees", "MACs"}), (80, {"sees", "MACs"})])
def test_the_table_of_layers_fits_the_terminal(width, headings):
    field = ReceptiveField(107, 107, False, PixelGrid((16, 16), (14, 14)))
    layer = Layer(
        "inception4a.branch2", "batch_normalization", (208, 14, 14), 179712, (208, 96, 3, 3), field, 35_223_552
    )
    console = Console(width=width, file=io.StringIO())
    console.print(layer_table((layer,), width=width))
    written = console.file.getvalue()
    assert {"filters", "sees", "MACs"} & set(written.splitlines()[0].split()) == headings
    assert all(whole in written for whole in ("inception4a.branch2", "107x107 /16", "35.2M", "179,712"))


@pytest.mark.parametrize(
    ("number", "text"), [(0, ""), (999, "999"), (1000, "1K"), (999_999, "1M"), (1_498_376_192, "1.5G")]
)
def test_large_numbers_are_written_with_a_unit(number, text):
    assert short_number(number) == text


def test_filters_writes_the_figure_and_the_weights(command, service, tmp_path):
    answer = command("filters", "tiny", "conv1", "-o", "out.png", "--filters", "1,0", "--weights", "weights.npy")
    assert answer.exit_code == 0
    assert "out.png: conv1: shown 2 of 2; norms 1 to 2, 1 dead" in answer.stdout
    assert decode((tmp_path / "out.png").read_bytes()).size == (6, 4)
    assert np.load(tmp_path / "weights.npy").shape == (2, 3, 3, 3)
    assert list(service.filters.requests[0].filters) == [1, 0]


def test_apply_writes_the_response_of_one_image(command, service, tmp_path):
    (tmp_path / "photo.png").write_bytes(png((9, 9, 9)))
    answer = command("apply", "laplacian", "photo.png", "--output", "edges.png", "--padding", "zeros")
    assert answer.exit_code == 0
    assert "edges.png: 1 x 4 x 6, 0 to 0; full colour at 0.5" in answer.stdout
    assert decode((tmp_path / "edges.png").read_bytes()).size == (6, 4)
    assert service.filters.requests[0].padding == 2


def test_apply_writes_a_folder_for_several_images(command, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png((9, 9, 9)))
    assert command("apply", "box", "a.png", "b.png", "-o", "answers").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "answers").iterdir()) == ["01-a.png", "02-b.png"]


def test_maximize_writes_picture_frames_and_animation(command, tmp_path):
    words = ("--seed", "3", "--steps", "64", "--frames", "frames", "--animation", "growth.webp")
    answer = command("maximize", "tiny", "class:star", *words)
    assert answer.exit_code == 0
    assert "maximization.png: objective 12.5 after 64 steps (steps), seed 3" in answer.stdout
    assert decode((tmp_path / "maximization.png").read_bytes()).getpixel((0, 0)) == (200, 100, 0)
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [f"{step:06d}.png" for step in FRAME_STEPS]
    assert decode((tmp_path / "growth.webp").read_bytes()).n_frames == 4


def test_maximize_tells_progress_and_warnings_without_a_terminal(command):
    answer = command("maximize", "tiny", "class:star", "--steps", "64")
    assert "class:star: 32/64  objective 32, 100.0 steps/s" in answer.stderr
    assert "warning: Nothing moves." in answer.stderr


def test_maximize_lays_several_pictures_out_as_a_grid(command, tmp_path):
    assert command("maximize", "tiny", "conv1:3", "--pictures", "4", "-o", "many.jpg").exit_code == 0
    assert decode((tmp_path / "many.jpg").read_bytes()).size == (16, 12)


def test_the_choices_of_maximize_reach_the_server(command, service):
    words = ("--size", "32x48", "--parameterization", "pixels", "--no-transforms", "--learning-rate", "0.5")
    words += ("--priority", "3", "--precision", "bfloat16")
    assert command("maximize", "tiny", "class:star - 0.5*conv1:3", *words).exit_code == 0
    [request] = service.maximizations.requests
    assert (request.size.height, request.size.width) == (32, 48)
    assert request.parameterization.HasField("pixels")
    assert request.HasField("transforms")
    assert len(request.transforms.items) == 0
    assert request.optimizer.adam.learning_rate == 0.5
    assert request.frames.every_steps == 0
    assert (request.priority, request.precision) == (3, maximization_pb2.PRECISION_BFLOAT16)
    assert [term.weight for term in request.objective.weighted_sum.terms] == [1, -0.5]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("models", "show", "tony"), "error: model: no model is named 'tony'; did you mean 'tiny'?\n"),
        (("maximize", "tiny", "class:star", "--steps", "200000"), "error: steps: expected a whole number from 1 to"),
        (("filters", "tiny", "conv1", "-o", "nowhere/out.png"), "error: [Errno 2] No such file or directory"),
    ],
)
def test_what_goes_wrong_is_one_line_and_status_one(command, words, message):
    answer = command(*words)
    assert answer.exit_code == 1
    assert answer.stderr.startswith(message)
    assert answer.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("maximize", "tiny", "nonsense"),
        ("maximize", "tiny", "class:star", "--size", "big"),
        ("filters", "tiny"),
        ("filters", "tiny", "conv1", "--filters", "one"),
        ("filters", "tiny", "conv1", "--normalization", "loud"),
        ("apply", "1,2;3", "missing.png"),
        ("models", "--model-repository", "here"),
        ("dream",),
    ],
)
def test_what_cannot_be_understood_is_status_two(command, words):
    assert command(*words).exit_code == 2


@pytest.mark.parametrize(
    "words", [(), ("demo",), ("models",), ("models", "show"), ("filters",), ("apply",), ("maximize",), ("atlas",)]
)
def test_every_command_teaches(words):
    answer = CliRunner().invoke(app, [*words, "--help"])
    assert answer.exit_code == 0
    assert len(answer.stdout.splitlines()) > 8


STAR, RING = objectives.class_logit("star"), objectives.class_logit("ring")


@pytest.mark.parametrize(
    ("words", "objective"),
    [
        (["class:star"], STAR),
        (["class:golden retriever"], objectives.class_logit("golden retriever")),
        (["class:7"], objectives.class_logit(7)),
        (["conv3:5"], objectives.channel("conv3", 5)),
        (["mixed3.branch/1x1:0:5"], objectives.channel("mixed3.branch/1x1:0", 5)),
        (["conv3:5@4,7"], objectives.neuron("conv3", 5, 4, 7)),
        (["layer:conv3"], objectives.layer("conv3")),
        (["0.5*class:star"], 0.5 * STAR),
        (["class:star", "class:ring"], STAR + RING),
        (["class:star - 0.5*class:ring"], STAR - 0.5 * RING),
        (["class:star", "-", ".5*class:ring"], STAR - 0.5 * RING),
        (["- class:star + class:ring"], -STAR + RING),
    ],
)
def test_objectives_are_read(words, objective):
    assert parse_objective(words) == objective


@pytest.mark.parametrize("words", [[], [""], ["star"], ["class:"], ["conv3:x"], ["class:star", "-"], ["conv3:5@4"]])
def test_other_objectives_are_refused(words):
    with pytest.raises(typer.BadParameter, match="class:NAME"):
        parse_objective(words)


def test_kernels_are_read():
    assert parse_kernel("laplacian") == "laplacian"
    np.testing.assert_array_equal(parse_kernel("0,1;-1,2.5"), [[0, 1], [-1, 2.5]])
    assert parse_kernel("shapes:conv1") == layer_kernel("shapes", "conv1")
    assert parse_kernel("shapes:conv1:3,5") == layer_kernel("shapes", "conv1", filters=[3, 5])


def test_a_handwritten_kernel_reaches_the_server(command, service, tmp_path):
    (tmp_path / "photo.png").write_bytes(png((9, 9, 9)))
    assert command("apply", "--", "-1,0,1;-2,0,2;-1,0,1", "photo.png").exit_code == 0
    sobel = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    np.testing.assert_array_equal(array(service.filters.requests[0].kernel.values), sobel)


def test_numbers_are_read():
    assert whole_numbers(" 0,3 ,5", option="--filters") == (0, 3, 5)
    assert picture_size("96", option="--size") == (96, 96)
    assert picture_size("96x128", option="--size") == (96, 128)
    for text in ("96x", "x", "1x2x3"):
        with pytest.raises(typer.BadParameter):
            picture_size(text, option="--size")


def test_serve_becomes_the_server_with_every_option(monkeypatch):
    executed = []
    monkeypatch.setattr(phosphene.cli.serve, "require_server", lambda: None)
    monkeypatch.setattr(phosphene.cli.serve.os, "execv", lambda path, words: executed.append((path, words)))
    assert CliRunner().invoke(app, ["serve", "--listen", "0.0.0.0:1", "--model-admin"]).exit_code == 0
    [(path, words)] = executed
    assert path == sys.executable
    assert words[-5:] == ["-m", "phosphene_server", "--listen", "0.0.0.0:1", "--model-admin"]


def test_serve_without_the_server_says_what_to_install(monkeypatch):
    def missing():
        raise errors.LaunchFailed("the server is not installed: run pip install 'phosphene[server]'")

    monkeypatch.setattr(phosphene.cli.serve, "require_server", missing)
    answer = CliRunner().invoke(app, ["serve"])
    assert answer.exit_code == 1
    assert answer.stderr == "error: the server is not installed: run pip install 'phosphene[server]'\n"


def test_maximize_sends_what_other_inputs_get(command, service, tmp_path):
    np.save(tmp_path / "mask.npy", np.ones((1, 2, 3), np.float32))
    words = ("--steps", "64", "--input", "mask=mask.npy", "--input", "scale=0.5")
    assert command("maximize", "tiny", "class:star", *words).exit_code == 0
    fixed = {item.name: array(item.value) for item in service.maximizations.requests[-1].fixed_inputs}
    assert fixed["mask"].shape == (1, 2, 3)
    assert fixed["scale"] == 0.5


@pytest.mark.parametrize("text", ["mask", "=1", "mask=", "mask=missing.npy"])
def test_an_input_is_a_name_and_a_number_or_file(text):
    with pytest.raises(typer.BadParameter):
        named_values([text], option="--input")


def test_a_file_of_pickles_is_not_read(tmp_path):
    np.save(tmp_path / "evil.npy", np.asarray([print], dtype=object))
    with pytest.raises(typer.BadParameter, match=r"expected a number or a \.npy file"):
        named_values([f"mask={tmp_path / 'evil.npy'}"], option="--input")


def test_a_fixed_batch_and_other_inputs_are_shown():
    mask = TensorSpecification("mask", "float32", (-1, 1, 16, 16))
    picture = TensorSpecification("image", "float32", (2, 3, 16, 16))
    model = fixed_model(inputs=(picture, mask), required_inputs=("mask",))
    assert list(_input_facts(model)) == [
        ("", "pictures of other sizes are resized to it"),
        ("batch", "fixed in the file: 2 at a time, any number is split"),
        ("other input", "mask: float32 any x 1 x 16 x 16, required"),
    ]


def fixed_model(**changes: object) -> Model:
    preprocessing = Preprocessing("rgb", 0.0, 1.0, (0.5,) * 3, (0.25,) * 3, (16, 16), True)
    facts = {"batch_handling": "split", "fixed_batch_size": 2, "picture_input": "image", **changes}
    empty = {field.name: () for field in fields(Model)}
    return Model(**{**empty, "preprocessing": preprocessing, **facts})
