"""Operators of the table against eager PyTorch: value and gradient, at another batch and size than the traced one."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from phosphene_server.models.importers.torchscript import import_torchscript
from tests.unit.models.importers.eager_networks import Wrapped, input_gradient

pytestmark = [
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
    pytest.mark.filterwarnings("ignore:Using padding='same'"),
    pytest.mark.filterwarnings("ignore:LSTM with projections"),
]

PICTURE = (2, 4, 6, 6)
LARGER = (3, 4, 8, 10)

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu6": lambda x: F.relu6(x * 5),
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 0.7),
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "elu": lambda x: F.elu(x, 0.7),
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 1.3),
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "logsigmoid": F.logsigmoid,
    "softplus": lambda x: F.softplus(x, beta=2.0),
    "tanh": torch.tanh,
    "glu": lambda x: F.glu(x, dim=1),
    "softmax": lambda x: F.softmax(x, dim=1),
    "log_softmax": lambda x: F.log_softmax(x, dim=-1),
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
    "arithmetic": lambda x: 2.0 - (x * 3 + x.sin() / 2) * x - torch.rsub(x, x * x, alpha=0.5),
    "powers": lambda x: (x.abs() + 1) ** 1.5 + (x * x + 1).sqrt() + (x * x + 1).rsqrt() + x.exp().log1p(),
    "clamp": lambda x: x.clamp(-0.5, 0.5) + x.clamp_min(0.1) + x.clamp(max=0.2),
    "where": lambda x: torch.where(x > 0, x * 2, -x) + x.masked_fill(x < 0.1, 3.0),
    "max_pool": lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    "avg_pool": lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    "adaptive_pools": lambda x: F.adaptive_avg_pool2d(x, 2) + F.adaptive_max_pool2d(x, 2),
    "pool1d": lambda x: F.max_pool1d(x.flatten(2), 3) + F.avg_pool1d(x.flatten(2), 3),
    "mean": lambda x: x.mean((2, 3)) + x.mean() + x.mean(1, keepdim=True).flatten(1).mean(1, keepdim=True),
    "reductions": lambda x: x.sum(1) + x.amax(1) + x.var(1) + x.std(1, unbiased=False) + x.norm(dim=1),
    "max_along": lambda x: x.max(dim=1)[0] + x.min(dim=1)[0] + torch.maximum(x[:, 0], x[:, 1]),
    "cat_stack": lambda x: torch.stack([torch.cat([x, x * 2], 1), torch.cat([x * 3, x], 1)], 2),
    "chunk": lambda x: math.prod(x.chunk(2, 1)),
    "split": lambda x: math.prod(x.split([1, 1, 2], 1)),
    "unbind": lambda x: math.prod(x.unbind(1)),
    "slices": lambda x: x[:, 1:3, ::2] * x[:, :2, ::2] + x.narrow(1, 1, 2)[:, :, ::2] + x[..., ::2, :][:, :2],
    "select": lambda x: x[:, 0] * x.select(1, -1),
    "gather": lambda x: x[:, torch.tensor([2, 0, 1])] * x.index_select(1, torch.tensor([0, 1, 1])),
    "transposes": lambda x: x.permute(0, 2, 3, 1).contiguous().transpose(1, 3).unsqueeze(1).squeeze(1) * 2,
    "view_back": lambda x: x.view(x.size(0), 2, 2, x.size(2), x.size(3)).transpose(1, 2).reshape(x.shape),
    "expand": lambda x: x.mean(1, keepdim=True).expand(-1, 3, -1, -1) + x.mean(1, True).repeat(1, 3, 1, 1),
    "flip_roll": lambda x: x.flip(3) + x.roll(1, 2),
    "pad": lambda x: F.pad(x, (1, 2, 0, 1), value=0.5),
    "pad_reflect": lambda x: F.pad(x, (1, 2, 2, 1), mode="reflect"),
    "pad_replicate": lambda x: F.pad(x, (1, 2, 2, 1), mode="replicate"),
    "pad_circular": lambda x: F.pad(x, (1, 2, 2, 1), mode="circular"),
    "nearest": lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
    "bilinear": lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"),
    "bilinear_corners": lambda x: F.interpolate(x, size=(7, 9), mode="bilinear", align_corners=True),
    "bicubic": lambda x: F.interpolate(x, size=(7, 9), mode="bicubic"),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "matmul": lambda x: torch.matmul(x, x.transpose(2, 3)) + torch.einsum("bchw,bcvw->bchv", x, x),
    "bmm": lambda x: torch.bmm(x.flatten(2), x.flatten(2).transpose(1, 2)),
    "attention": lambda x: F.scaled_dot_product_attention(x, x * 2, x + 1),
    "casts": lambda x: x.float().double().float() * (x > 0).float() + (x > 0).to(x.dtype),
    "new_tensors": lambda x: (
        x + torch.zeros_like(x) + x.new_ones(x.shape) + torch.full((1,), 2.0) * torch.arange(x.size(3))
    ),
    "layer_norm": lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,)),
    "group_norm": lambda x: F.group_norm(x, 2),
    "instance_norm": lambda x: F.instance_norm(x),
    "local_response_norm": lambda x: F.local_response_norm(x, 3),
    "straight_through": lambda x: (x + (x.round() - x).detach()) * x,
    "overwriting": lambda x: (x * 2).add_(1).mul_(0.5).tanh_(),
    "grid_sample": lambda x: F.grid_sample(
        x, x[:, :2].permute(0, 2, 3, 1).tanh(), padding_mode="border", align_corners=False
    ),
    "affine_grid": lambda x: F.affine_grid(x[:, :2, 0, :3], [x.size(0), 1, 4, 4], align_corners=False) * x.mean(),
    "nearest_exact": lambda x: F.interpolate(x, scale_factor=1.5, mode="nearest-exact"),
    "area": lambda x: F.interpolate(x, size=(3, 4), mode="area"),
    "linear_resize": lambda x: F.interpolate(x.flatten(2), scale_factor=2.0, mode="linear"),
    "trilinear_resize": lambda x: F.interpolate(x.unsqueeze(1), scale_factor=2.0, mode="trilinear"),
    "antialias": lambda x: F.interpolate(x, size=(4, 5), mode="bilinear", antialias=True),
    "cumulative": lambda x: x.cumsum(1) + x.cumprod(2) + x.cummax(1)[0] + x.logcumsumexp(1),
    "ordered": lambda x: x.sort(1)[0] * x.argsort(1) + x.topk(2, 1)[0].sum(1, True) + x.kthvalue(2, 1)[0].unsqueeze(1),
    "positions": lambda x: x * x.argmax(1, keepdim=True) + x.argmin(1, True),
    "gathered": lambda x: (
        x.gather(1, x.argsort(1)) + torch.take_along_dim(x, x.argsort(1), 1) + x.take(torch.tensor(3))
    ),
    "scattered": lambda x: torch.zeros_like(x).scatter_(1, x.argsort(1), x) + x.scatter(1, x.argmax(1, True), 2.0),
    "masked": lambda x: x[x > 0].sum() + x.masked_select(x < 0).prod() + (x > 0).nonzero().sum() * x.mean(),
    "embedding": lambda x: F.embedding(x.argmax(1), torch.arange(8.0).view(4, 2)).sum(-1) * x[:, 0],
    "one_hot": lambda x: F.one_hot(x.argmax(1), 4).permute(0, 3, 1, 2) * x,
    "fold": lambda x: F.fold(F.unfold(x, 3, padding=1) * 2, x.shape[2:], 3, padding=1),
    "windows": lambda x: x.unfold(2, 3, 2).unfold(3, 2, 1).mean(-1),
    "baddbmm": lambda x: torch.baddbmm(x[:, 0], x[:, 1], x[:, 2].mT @ x[:, 2], beta=0.5, alpha=2),
    "norms": lambda x: x.norm(p=1) + torch.linalg.norm(x, dim=1).mean() + x.norm(p=math.inf, dim=1).mean(),
    "normalize": lambda x: F.normalize(x, dim=1) + F.normalize(x, p=1.0, dim=2),
    "spreads": lambda x: torch.var_mean(x, 1)[0] + torch.std_mean(x, 1)[1] + x.var((2, 3)).mean(),
    "trigonometry": lambda x: x.tan().clamp(-1, 1) + x.atan() + (x / 9).asin() + x.asinh() + torch.atan2(x, x * x + 1),
    "special": lambda x: x.erfc() + (x / 9).erfinv() + torch.digamma(x * x + 1) + torch.special.i1(x) + torch.sinc(x),
    "pairs": lambda x: torch.hypot(x, x + 1) + torch.logaddexp(x, x * 2) + torch.fmax(x, x * 2) + torch.copysign(x, -x),
    "bits": lambda x: x * ((x > 0) & (x < 1) | (x > 2) ^ (x < -1)) + x * ((x * 4).long() << 1) + x * (~(x > 0)),
    "products": lambda x: torch.tensordot(x, x[0], dims=([1, 2, 3], [0, 1, 2])) + torch.kron(x[0, 0], x[0, 1]).sum(),
    "distances": lambda x: torch.cdist(x.flatten(2), x.flatten(2) + 1) + F.cosine_similarity(x, x + 1, dim=-1).mean(),
    "inverse": lambda x: torch.linalg.inv(x[..., :4, :4] + 9 * torch.eye(4)) + torch.linalg.det(x[..., :3, :3]).mean(),
    "decompositions": lambda x: (
        torch.linalg.svd(x, False)[1] + torch.linalg.cholesky(x @ x.mT + 9 * torch.eye(x.size(2))).sum()
    ),
    "triangles": lambda x: x.triu() + x.tril(1) + x.diagonal(dim1=2, dim2=3).sum() + torch.diag_embed(x[:, 0, 0]).sum(),
    "joined": lambda x: torch.hstack([x, x]).sum() + torch.vstack([x, x]).mean() + torch.column_stack([x, x])[:, :4],
    "divided": lambda x: (
        torch.cat(torch.tensor_split(x, 3, 1), 1) + torch.cat(x.hsplit(2)[::-1], 1) + x.tile(1, 2, 1, 1)[:, ::2]
    ),
    "quantiles": lambda x: torch.quantile(x, 0.5, dim=1) + torch.diff(x, dim=1)[:, 0] + x.median(1)[0],
    "fourier": lambda x: torch.fft.irfft2(torch.fft.rfft2(x)) + torch.fft.fft(x).abs() + torch.fft.fftshift(x),
    "made_of_numbers": lambda x: x * torch.tensor([[1.0], [2.0]]).sum() + torch.linspace(0, 1, x.size(3)) * x.size(2),
    "masked_attention": lambda x: F.scaled_dot_product_attention(
        x, x * 2, x + 1, torch.ones(x.size(2), x.size(2)).tril()
    ),
}


class Recurrent(nn.Module):
    """A recurrent layer over the rows of a picture."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        output, state = self.layer(x)
        return output + sum(each.sum() for each in (state if isinstance(state, tuple) else (state,)))


def recurrent(kind: type[nn.RNNBase], **options: Any) -> nn.Module:
    return Recurrent(kind(6, 5, num_layers=2, batch_first=True, bidirectional=True, **options))


RECURRENT: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: recurrent(nn.LSTM),
    "projected_lstm": lambda: recurrent(nn.LSTM, proj_size=3),
    "gru": lambda: recurrent(nn.GRU),
    "rnn": lambda: recurrent(nn.RNN, nonlinearity="relu"),
}

MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2), (2, 4, 20), "convolution"),
    "conv3d": (lambda: nn.Conv3d(2, 4, 3, groups=2), (2, 2, 5, 6, 7), "convolution"),
    "conv_same": (lambda: nn.Conv2d(4, 4, 4, padding="same"), PICTURE, "convolution"),
    "conv_reflect": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), PICTURE, "convolution"),
    "transposed1d": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 9), "transposed_convolution"),
    "transposed2d": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        PICTURE,
        "transposed_convolution",
    ),
    "transposed3d": (lambda: nn.ConvTranspose3d(2, 3, 2), (2, 2, 3, 4, 5), "transposed_convolution"),
    "linear": (lambda: nn.Linear(6, 3, bias=False), PICTURE, "linear"),
    "prelu": (lambda: nn.PReLU(4), PICTURE, "prelu"),
    "batch_norm1d": (lambda: nn.BatchNorm1d(4), (3, 4), "batch_normalization"),
}


def check(network: nn.Module, path: Path, example: Tensor, picture: Tensor) -> None:
    torch.jit.trace(network, example, check_trace=False).save(str(path))
    graph = import_torchscript(path, name="small").to(dtype=torch.float64)
    network = network.double()
    torch.testing.assert_close(graph(picture)[0], network(picture).double(), rtol=1e-6, atol=1e-7)
    gradient = input_gradient(lambda x: graph(x)[0], picture)
    torch.testing.assert_close(gradient, input_gradient(lambda x: network(x).double(), picture), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_operator_equals_eager_at_another_size(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    picture = torch.randn(LARGER, dtype=torch.float64)
    check(Wrapped(FUNCTIONS[name]), tmp_path / "model.pt", torch.randn(PICTURE), picture)


@pytest.mark.parametrize("name", MODULES)
def test_a_layer_equals_eager_and_says_its_kind(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    make, shape, kind = MODULES[name]
    network = nn.Sequential(make()).eval()
    picture = torch.randn((shape[0] + 1, *shape[1:]), dtype=torch.float64)
    check(network, tmp_path / "model.pt", torch.randn(shape), picture)
    assert import_torchscript(tmp_path / "model.pt", name="small").layers["0"].kind == kind


@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers_equal_eager_at_another_length(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    network = RECURRENT[name]().eval()
    check(network, tmp_path / "model.pt", torch.randn(2, 4, 6), torch.randn(3, 7, 6, dtype=torch.float64))


def test_a_linear_layer_written_as_a_matrix_product_has_filters(tmp_path: Path) -> None:
    class Older(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 4))
            self.bias = nn.Parameter(torch.randn(3))

        def forward(self, x: Tensor) -> Tensor:
            return torch.addmm(self.bias, x, self.weight.t())

    path = tmp_path / "model.pt"
    torch.jit.trace(nn.Sequential(Older()), torch.randn(2, 4)).save(str(path))
    geometry, weight, _ = import_torchscript(path, name="small").filters("0")
    assert (geometry.weight, geometry.bias, weight.shape) == ("0.weight", "0.bias", (3, 4))


def test_attention_traced_without_gradients_has_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval().self_attn

    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = network

        def forward(self, x: Tensor) -> Tensor:
            return self.attention(x, x, x, need_weights=False)[0]

    attending = Attending().eval()
    with torch.no_grad():
        torch.jit.trace(attending, torch.randn(2, 5, 8), check_trace=False).save(str(tmp_path / "model.pt"))
    graph = import_torchscript(tmp_path / "model.pt", name="small").to(dtype=torch.float64)
    picture = torch.randn(3, 7, 8, dtype=torch.float64)
    gradient = input_gradient(lambda x: graph(x)[0], picture)
    torch.testing.assert_close(gradient, input_gradient(attending.double(), picture), rtol=1e-6, atol=1e-8)
