"""What a network really sees: the pixels that a gradient reaches. The oracle of these tests."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from phosphene_server.models.receptive_fields import Sight
from phosphene_server.models.survey import survey

Interval = tuple[int, int]
NOTHING: Interval = (0, -1)


def open_wide(network: nn.Module) -> nn.Module:
    """Give a network positive weights, in float64: nothing cancels, and no ReLU is closed for positive pictures.

    Max pools become average pools over the same windows: a gradient of a maximum reaches one pixel alone.
    """
    generator = torch.Generator().manual_seed(0)
    for path, module in list(network.named_modules()):
        if isinstance(module, nn.ReLU):
            module.inplace = False
        if isinstance(module, nn.MaxPool2d):
            geometry = (module.kernel_size, module.stride, module.padding, module.ceil_mode)
            holder, _, name = path.rpartition(".")
            setattr(network.get_submodule(holder), name, nn.AvgPool2d(*geometry))
    for parameter in network.parameters():
        inputs = max(parameter[0].numel() if parameter.dim() > 1 else 1, 1)
        parameter.data = torch.rand(parameter.shape, generator=generator, dtype=torch.float64) / inputs + 1e-3
    return network.double().eval()


def random_picture(height: int, width: int) -> Tensor:
    return 0.5 + 0.5 * torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def told(network: nn.Module, picture: Tensor) -> Sight:
    """What the survey says of a network's output."""
    graph = fx.symbolic_trace(network)
    for node in graph.graph.nodes:
        node.kwargs = {**node.kwargs, "inplace": False} if node.target is F.relu else node.kwargs
    records = survey(graph, [picture])
    result = next(node for node in graph.graph.nodes if node.op == "output")
    sight = records[result.args[0].name].sight
    assert sight is not None
    return sight


def seen_rows_and_columns(value: Tensor, picture: Tensor) -> tuple[Interval, Interval]:
    """The rows and columns of the picture in which the gradient of a number is not zero, (first, last) each."""
    (gradient,) = torch.autograd.grad(value, picture, retain_graph=True)
    places = gradient.abs().sum((0, 1)).nonzero()
    if not len(places):
        return NOTHING, NOTHING
    (top, left), (bottom, right) = places.min(0).values.tolist(), places.max(0).values.tolist()
    return (top, bottom), (left, right)


def clipped(first: int, last: int, length: int) -> Interval:
    """The part of an interval that lies in the picture."""
    first, last = max(int(first), 0), min(int(last), length - 1)
    return (first, last) if first <= last else NOTHING


def check_every_position(
    network: nn.Module, *, size: tuple[int, int] = (24, 20), turned: Callable[[Tensor], Tensor] = lambda value: value
) -> Sight:
    """Compare what is told and what is seen at every row and column; `turned`: to (batch, channel, row, column).

    What is told is the field on an endless picture. It is compared within the picture, so the networks are such that no
    position outside of a layer would see a part of the picture.
    """
    picture = random_picture(*size).requires_grad_()
    sight = told(open_wide(network), picture.detach())
    value = turned(network(picture))
    rows, columns = sight.reaches["row"], sight.reaches["column"]
    assert (len(rows), len(columns)) == tuple(value.shape[2:])
    for place in range(max(len(rows), len(columns))):
        row, column = min(place, len(rows) - 1), min(place, len(columns) - 1)
        seen = seen_rows_and_columns(value[0, :, row, column].square().sum(), picture)
        expected = (
            clipped(rows.low[row], rows.high[row], size[0]),
            clipped(columns.low[column], columns.high[column], size[1]),
        )
        assert seen == ((NOTHING, NOTHING) if NOTHING in expected else expected), (row, column)
    return sight
