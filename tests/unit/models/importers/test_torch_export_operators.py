"""Every operator that networks are written in, exported and read again, against eager PyTorch in float64."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phosphene_server.models.importers.torch_export import import_torch_export

Function = Callable[[Tensor], Tensor]

FUNCTIONS: dict[str, Function] = {
    "sort": lambda x: torch.sort(x, -1)[0],
    "sort_descending": lambda x: x.sort(1, descending=True)[0],
    "argsort": lambda x: x.gather(-1, torch.argsort(x, -1)),
    "scatter": lambda x: x.scatter(1, torch.tensor([[[[0, 1]]]]), (x * 2)[:, :1, :1, :2]),
    "scatter_value": lambda x: x.scatter(1, torch.tensor([[[[0, 1]]]]), 3.0),
    "scatter_add": lambda x: x.scatter_add(1, torch.tensor([[[[0, 0]]]]), (x * 2)[:, :1, :1, :2]),
    "scatter_reduce": lambda x: x.scatter_reduce(1, torch.tensor([[[[0, 0]]]]), (x * 2)[:, :1, :1, :2], "amax"),
    "slice_scatter": lambda x: torch.slice_scatter(x, x[:, 1:3] * 2, 1, 1, 3),
    "select_scatter": lambda x: torch.select_scatter(x, x[:, 1] * 2, 1, 0),
    "index_add": lambda x: x.index_add(1, torch.tensor([0, 0]), x[:, :2], alpha=2),
    "index_copy": lambda x: x.index_copy(1, torch.tensor([1, 0]), x[:, :2] * 3),
    "index_fill": lambda x: x.index_fill(1, torch.tensor([1]), 0.5),
    "index_put": lambda x: torch.index_put(x, (torch.tensor([0]),), x[0] * 2),
    "masked_scatter": lambda x: x.masked_scatter(x > 0, x.flip(1)),
    "take_along_dim": lambda x: torch.take_along_dim(x, x.argsort(1), 1),
    "one_hot": lambda x: F.one_hot(x.argmax(1), 4) * x.mean(),
    "diagonal": lambda x: torch.diagonal(x, 1, -2, -1),
    "diag_embed": lambda x: torch.diag_embed(x),
    "tril": lambda x: torch.tril(x, -1),
    "triu": lambda x: torch.triu(x, 1),
    "rot90": lambda x: torch.rot90(x, 1, [2, 3]),
    "meshgrid": lambda x: torch.meshgrid(x[0, 0, 0], x[0, 1, 0], indexing="xy")[0],
    "fold": lambda x: F.fold(F.unfold(x, 3, 1, 1, 2), (6, 6), 3, 1, 1, 2),
    "atan2": lambda x: torch.atan2(x, x + 3),
    "fmod": lambda x: torch.fmod(x, 0.7),
    "hypot": lambda x: torch.hypot(x, x + 2),
    "logaddexp": lambda x: torch.logaddexp(x, -x),
    "lerp": lambda x: torch.lerp(x, -x, 0.3),
    "lerp_tensor": lambda x: torch.lerp(x, -x, x.sigmoid()),
    "addcdiv": lambda x: torch.addcdiv(x, x, x.exp(), value=0.3),
    "nan_to_num": lambda x: torch.nan_to_num(x.log(), 1.0),
    "elementary": lambda x: x.tan() + x.sinh() + x.cosh() + x.atan() + x.asinh() + x.expm1() + torch.exp2(x),
    "inverse": lambda x: x.tanh().atanh() + x.tanh().asin() + x.tanh().acos() + (x.exp() + 1).acosh(),
    "logarithms": lambda x: x.exp().log2() + x.exp().log10() + x.sigmoid().logit() + x.exp().lgamma(),
    "statistics": lambda x: x.erfc() + torch.sinc(x) + x.frac() + x.sgn() + x.tanh().erfinv(),
    "logic": lambda x: x * ((x > 0) & (x < 1) | (x > 2) ^ x.isnan() ^ x.isinf()),
    "mv": lambda x: torch.mv(x[0, 0], x[0, 1, 0]),
    "dot": lambda x: torch.dot(x[0, 0, 0], x[0, 1, 0]),
    "outer": lambda x: torch.outer(x[0, 0, 0], x[0, 1, 0]),
    "inner": lambda x: torch.inner(x, x),
    "addbmm": lambda x: torch.addbmm(x[0, 0], x[0], x[0], beta=0.5),
    "addmv": lambda x: torch.addmv(x[0, 0, 0], x[0, 0], x[0, 1, 0], alpha=2),
    "kron": lambda x: torch.kron(x[0, 0], x[0, 1]),
    "cross": lambda x: torch.linalg.cross(x[:, :3], x[:, 1:], dim=1),
    "cdist": lambda x: torch.cdist(x, x + 1),
    "cosine_similarity": lambda x: F.cosine_similarity(x, x.roll(1, 1), 1),
    "pairwise_distance": lambda x: F.pairwise_distance(x, x.roll(1, 1)),
    "var_mean": lambda x: torch.var_mean(x, 1)[0] + torch.std_mean(x, [1], correction=0)[1],
    "median": lambda x: x.median(1)[0],
    "aminmax": lambda x: torch.aminmax(x, dim=1)[0],
    "prod": lambda x: x.prod(1) + x.prod(),
    "any": lambda x: x * (x > 0).any(1, keepdim=True) * (x > -9).all(),
    "cumprod": lambda x: x.cumprod(1) + x.cummax(1)[0] + x.cummin(1)[0],
    "weight_norm": lambda x: torch._weight_norm(x, x[:, :1, :1, :1].abs() + 1, 0),
    "linspace": lambda x: x + torch.linspace(0, 1, 6),
    "eye": lambda x: x * torch.eye(6, 6),
    "empty": lambda x: torch.empty_like(x).fill_(2) * x,
    "fourier": lambda x: torch.fft.irfft2(torch.fft.rfft2(x, norm="ortho") * 2, norm="ortho"),
    "complex": lambda x: torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (3, 2))) * (1 + 2j)),
    "polar": lambda x: torch.polar(x, x).real + torch.complex(x, x).imag,
    "grid_sample": lambda x: F.grid_sample(x, x[..., :2].tanh(), align_corners=False),
    "affine_grid": lambda x: F.affine_grid(x[:, 0, :2, :3], [1, 4, 5, 5], align_corners=True),
    "bicubic": lambda x: F.interpolate(x, (9, 8), mode="bicubic", align_corners=True),
    "batch_statistics": lambda x: F.batch_norm(x, None, None, training=True),
    "einsum": lambda x: torch.einsum("bchw,bcvw->bhv", x, x),
    "padding": lambda x: F.pad(x, (1, 2, 1, 1), mode="circular") + F.pad(x, (1, 2, 1, 1), mode="reflect"),
}

EAGER = FUNCTIONS | {"aminmax": lambda x: torch.amin(x, dim=1)}
"""What tells the gradients: torch 2.11 has none of `aminmax`."""


class Network(nn.Module):
    """Returns what every function makes of the same tensor, by name: one export for all of them."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: function(x) for name, function in FUNCTIONS.items()}


@pytest.mark.parametrize("decomposed", [False, True], ids=["as_written", "decomposed"])
def test_values_and_gradients_equal_eager(tmp_path: Path, decomposed: bool) -> None:
    picture = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    program = torch.export.export(Network(), (picture.float(),))
    torch.export.save(program.run_decompositions() if decomposed else program, tmp_path / "model.pt2")
    graph = import_torch_export(tmp_path / "model.pt2", name="functions")
    picture.requires_grad_()
    names, values = [output.name for output in graph.outputs], graph(picture)
    assert names == list(FUNCTIONS)
    for name, value in zip(names, values, strict=True):
        found, expected = value.double(), EAGER[name](picture).double()
        close = partial(torch.testing.assert_close, rtol=1e-6, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")
        close(found, expected)
        close(gradient(found, picture), gradient(expected, picture))


def gradient(value: Tensor, picture: Tensor) -> Tensor:
    return torch.autograd.grad(value.sin().sum(), picture, retain_graph=True)[0]
