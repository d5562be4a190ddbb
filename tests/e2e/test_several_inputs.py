"""Models with an input beside the picture, and with a batch in the file, through the whole service over a socket."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import phosphene
from phosphene import ModelReference, objectives, parameterizations

SIDE = 16
MASK = np.zeros((1, SIDE, SIDE), np.float32)
MASK[:, :, SIDE // 2 :] = 1
WEIGHT = np.random.default_rng(0).standard_normal((4, 3, 3, 3), dtype=np.float32)
FORMATS = ("onnx", "torchscript", "torch_export")


class Masked(nn.Module):
    """A convolution of the part of a picture that a mask shows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.conv.weight.data = torch.from_numpy(WEIGHT)

    def forward(self, picture: Tensor, mask: Tensor) -> Tensor:
        return self.conv(picture * mask)


def write_masked(folder: Path, **manifest: object) -> None:
    """Write the network in all formats."""
    folder.mkdir(parents=True)
    inputs = {"picture": ["n", 3, SIDE, SIDE], "mask": ["n", 1, SIDE, SIDE]}
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["picture", "mask"], ["masked"], "masked"),
            helper.make_node("Conv", ["masked", "weight"], ["output"], "conv"),
        ],
        "masked",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(WEIGHT, "weight")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "model.onnx")
    examples = (torch.rand(1, 3, SIDE, SIDE), torch.rand(1, 1, SIDE, SIDE))
    network = Masked().eval()
    torch.jit.save(torch.jit.trace(network, examples), folder / "model.pt")
    torch.export.save(torch.export.export(network, examples), folder / "model.pt2")
    content = {"trusted": True, "input": {"size": [SIDE, SIDE], "mean": [0.5], "std": [0.25]}, **manifest}
    (folder / "manifest.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def write_baked(folder: Path) -> None:
    """Write a network that takes two pictures at a time, each of 8 by 8."""
    folder.mkdir(parents=True)
    weights = {
        "planes": np.asarray([6, 64]),
        "rows": np.asarray([2, 12]),
        "weight": np.random.default_rng(0).standard_normal((64, 4), dtype=np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["x", "planes"], ["flat"], "flat"),
            helper.make_node("MatMul", ["flat", "weight"], ["features"], "features"),
            helper.make_node("Reshape", ["features", "rows"], ["y"], "rows"),
        ],
        "baked",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 12])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "model.onnx")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[phosphene.Client]:
    root = tmp_path_factory.mktemp("repository")
    write_masked(root / "masked" / "1")
    write_masked(root / "masked_by_default" / "1", other_inputs={"mask": MASK.tolist()})
    write_baked(root / "baked" / "1")
    with phosphene.launch(model_repository=root) as embedded:
        yield embedded


def maximize(client: phosphene.Client, model: str | ModelReference, **options: object) -> phosphene.Run:
    settings = {"steps": 6, "seed": 7, "transforms": (), "tensors": True, "frame_every": 0, **options}
    made_of = parameterizations.pixels(decorrelate_colors=False)
    return client.maximize(model, objectives.channel("conv", 2), parameterization=made_of, **settings)


@pytest.mark.parametrize("model_format", FORMATS)
def test_a_model_tells_its_inputs(client: phosphene.Client, model_format: str) -> None:
    model = client.model(ModelReference("masked", format=model_format))
    assert [(entry.name, entry.data_type) for entry in model.inputs] == [("picture", "float32"), ("mask", "float32")]
    assert (model.picture_input, model.required_inputs, model.batch_handling) == ("picture", ("mask",), "any")


@pytest.mark.parametrize("model_format", FORMATS)
def test_only_what_the_mask_shows_is_drawn(client: phosphene.Client, model_format: str) -> None:
    reference = ModelReference("masked", format=model_format)
    early, late = (
        maximize(client, reference, fixed_inputs={"mask": MASK}, steps=steps).result().tensors for steps in (1, 6)
    )
    moved = np.abs(late - early).max(axis=(0, 1))
    assert moved[:, : SIDE // 2].max() == 0
    assert moved[:, SIDE // 2 :].min() > 0


def test_every_format_draws_the_same(client: phosphene.Client) -> None:
    first, *others = (
        maximize(client, ModelReference("masked", format=model_format), fixed_inputs={"mask": 0.5}).result().history
        for model_format in FORMATS
    )
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-4)


def test_an_input_without_a_value_is_named(client: phosphene.Client) -> None:
    with pytest.raises(phosphene.errors.InvalidArgument, match="'mask' takes float32 of shape") as caught:
        maximize(client, "masked").result()
    assert caught.value.field == "fixed_inputs"
    with pytest.raises(phosphene.errors.InvalidArgument) as caught:
        maximize(client, "masked", fixed_inputs={"mask": np.zeros((3, SIDE, SIDE))}).result()
    assert caught.value.field == "fixed_inputs[0].value"
    with pytest.raises(phosphene.errors.NotFound, match="did you mean 'mask'"):
        maximize(client, "masked", fixed_inputs={"maks": 1.0}).result()


def test_settings_that_are_sent_again_have_the_same_inputs(client: phosphene.Client) -> None:
    masks = np.stack([MASK, 1 - MASK])
    with maximize(client, "masked", pictures=2, fixed_inputs={"mask": masks}) as run:
        first = run.result()
    assert np.array_equal(run.settings.fixed_inputs["mask"], masks)
    again = client.maximize(**vars(run.settings)).result()
    assert np.array_equal(first.tensors, again.tensors)
    listed = next(job for job in client.maximizations() if job.id == run.id)
    assert listed.settings.fixed_inputs == {}
    assert np.array_equal(client.maximization(run.id).settings.fixed_inputs["mask"], masks)


def test_the_manifest_has_defaults(client: phosphene.Client) -> None:
    assert client.model("masked_by_default").required_inputs == ()
    by_default = maximize(client, "masked_by_default").result()
    given = maximize(client, "masked", fixed_inputs={"mask": MASK}).result()
    assert np.array_equal(by_default.tensors, given.tensors)


def test_a_batch_in_the_file_is_told_and_split(client: phosphene.Client) -> None:
    model = client.model("baked")
    assert (model.batch_handling, model.fixed_batch_size, model.preprocessing.size) == ("split", 2, (8, 8))
    objective = objectives.neuron("rows", 3)
    together = client.maximize("baked", objective, steps=4, seed=5, pictures=3, size=(24, 32)).result()
    alone = client.maximize("baked", objective, steps=4, seed=5, pictures=1, size=(24, 32)).result()
    assert together.pictures[0].size == (32, 24)  # resized before the network sees it
    np.testing.assert_allclose(together.history[:, 0], alone.history[:, 0], rtol=1e-4)
