"""What the layer table tells: costs against torch's own counter, gradients against autograd."""

import operator

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, fx, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.torchscript import import_torchscript
from phosphene_server.models.layer_table import LayerTable, layer_table
from phosphene_server.models.observation import observe
from phosphene_server.models.survey import NodeRecord, survey
from phosphene_server.values.image import ImageSize
from phosphene_server.values.model import Preprocessing


def imported(network: nn.Module, picture: Tensor, folder) -> ModelGraph:
    with torch.no_grad():
        torch.jit.trace(network.eval(), picture, check_trace=False).save(str(folder / "model.pt"))
    return import_torchscript(folder / "model.pt", name="network")


def table_of(graph: ModelGraph, picture: Tensor) -> LayerTable:
    size = ImageSize(*picture.shape[2:])
    preprocessing = Preprocessing("rgb", 0.0, 1.0, (0.0,) * 3, (1.0,) * 3, size, True)
    shapes = graph.layer_shapes(observe(graph, (picture,)).shapes, batch=len(picture))
    return layer_table(graph, [picture], shapes, preprocessing)


def swin() -> nn.Module:
    return torchvision.models.SwinTransformer(
        patch_size=[4, 4], embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=[4, 4], num_classes=5
    )


def vision_transformer() -> nn.Module:
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5
    )


class Products(nn.Module):
    """A product of what it is given with itself, which no module stands for."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bcl,bdl->bcd", x, x).sqrt()


class Decoder(nn.Module):
    """Convolutions of all kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, groups=1), nn.Conv2d(8, 8, 3, groups=4))
        self.up = nn.ConvTranspose2d(8, 6, 4, stride=2, groups=2)
        self.line = nn.Sequential(nn.Conv1d(6, 4, 3), Products())

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.down(x))
        return self.line(x.mean(3))


@pytest.fixture
def slow_attention():
    """The fast path of `nn.MultiheadAttention` is one operation that torch's counter does not know."""
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: torchvision.models.googlenet(init_weights=False, aux_logits=False), 64),
        (torchvision.models.mobilenet_v3_small, 64),
        (swin, 32),
        (vision_transformer, 32),
        (Decoder, 32),
    ],
)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_costs_are_those_of_torchs_counter_in_the_whole_and_in_every_module(make, size, tmp_path, slow_attention):
    network, picture = make().eval(), torch.rand(1, 3, size, size)
    # Attention as products of matrices, for the counter of torch 2.11 does not know the fused kernel of the CPU.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        network(picture)
    counts = {
        path.partition(".")[2]: sum(by_operator.values()) // 2
        for path, by_operator in counter.get_flop_counts().items()
        if path != "Global"
    }
    table = table_of(imported(network, picture, tmp_path), picture)
    assert table.multiply_accumulates == counter.get_total_flops() // 2
    rows = {row.name: row.multiply_accumulates for row in table.layers}
    assert {name: cost for name, cost in rows.items() if cost} == {
        name: cost for name, cost in counts.items() if cost and name in rows
    }
    assert sum(rows.values()) > 0


class Twice(nn.Module):
    """A block that is called twice, and a layer behind the output that nothing needs."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.block(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_every_call_of_a_module_has_its_own_costs(tmp_path):
    picture = torch.rand(1, 3, 8, 8)
    table = table_of(imported(Twice(), picture, tmp_path), picture)
    once = 3 * 3 * 9 * 64
    costs = {row.name: row.multiply_accumulates for row in table.layers}
    assert (costs["block"], costs["block@1"], table.multiply_accumulates) == (once, once, 2 * once)
    parameters = {row.name: row.parameter_count for row in table.layers}
    assert (parameters["block"], parameters["block@1"], table.parameter_count) == (84, 84, 84)


def test_costs_are_for_one_picture_of_a_batch(tmp_path):
    graph = imported(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.rand(1, 3, 8, 8), tmp_path)
    costs = [table_of(graph, torch.rand(batch, 3, 8, 8)).multiply_accumulates for batch in (1, 3)]
    assert costs[0] == costs[1] == 4 * 27 * 36


class StraightThrough(torch.autograd.Function):
    """Rounds, with the gradient of what was rounded."""

    @staticmethod
    def forward(context, value):
        return value.round()

    @staticmethod
    def backward(context, gradient):
        return gradient


def record(operation) -> NodeRecord:
    """What the survey says of one operation on the picture."""
    graph = fx.Graph()
    picture = graph.placeholder("picture")
    node = graph.call_function(operation, (picture,))
    graph.output((node,))
    return survey(fx.GraphModule(nn.Module(), graph), [torch.rand(1, 3, 8, 8)])[node.name]


@pytest.mark.parametrize(
    "operation",
    [
        torch.relu,
        lambda x: x - x.floor(),
        lambda x: x + (x.round() - x).detach(),
        lambda x: StraightThrough.apply(x),
        lambda x: x.topk(2, 1).values,
        lambda x: torch.where(x > 0.5, x, 0.0),
    ],
)
def test_a_gradient_goes_through(operation):
    assert record(operation).gradient_reaches_input


@pytest.mark.parametrize(
    "operation",
    [
        torch.round,
        torch.sign,
        lambda x: x.floor() * 2,
        lambda x: x.argmax(1),
        lambda x: x > 0.5,
        lambda x: (x > 0.5).float(),
        lambda x: x.to(torch.int32).float(),
        lambda x: x.detach() * 2,
        lambda x: torch.ones_like(x),
        lambda x: F.one_hot(x.argmax(1)).float(),
    ],
)
def test_a_gradient_is_cut_off(operation):
    assert not record(operation).gradient_reaches_input


def test_what_does_not_depend_on_the_picture_has_no_receptive_field():
    seen = record(lambda x: torch.ones_like(x) * 2)
    assert seen.sight is not None
    assert not seen.sight.reaches


def test_an_operation_without_a_rule_has_no_receptive_field_and_neither_has_what_reads_it():
    assert record(lambda x: torch.fft.rfft(x).real * 2).sight is None


def test_writing_into_a_part_of_a_tensor_is_not_followed():
    def overwrite(x: Tensor) -> Tensor:
        result = torch.zeros_like(x)
        result[:, :1] = x[:, :1]
        return result * 2

    assert record(overwrite).sight is None


def test_an_operation_with_several_results_costs_what_all_of_them_take():
    graph = fx.Graph()
    picture = graph.placeholder("picture")
    both = graph.call_function(lambda x: (x @ x, x @ x), (picture,))
    graph.output((graph.call_function(operator.getitem, (both, 0)),))
    records = survey(fx.GraphModule(nn.Module(), graph), [torch.rand(1, 3, 8, 8)])
    assert sum(record.multiply_accumulates for record in records.values()) == 2 * 3 * 8**3


def test_kernels_that_are_made_on_the_spot_cost_nothing():
    assert record(lambda x: F.conv2d(x, torch.ones(2, 3, 3, 3))).multiply_accumulates == 0
