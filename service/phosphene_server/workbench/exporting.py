"""A module of PyTorch -> a file of each format."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from phosphene_server.errors import Unsupported
from phosphene_server.values.model import ModelFormat

try:
    from onnxscript import optimizer
except ImportError:  # an optional dependency, of the extra `export`
    optimizer = None  # type: ignore[assignment]  # looked at before its use

LARGEST_SINGLE_FILE_BYTES = 3 * 2**29
"""Weights up to this many bytes are written into the ONNX file itself; protobuf ends at 2**31."""

LONGEST_REASON = 200
"""Characters of what an exporter says."""

EXAMPLES = 2
"""Pictures in the example. An export specializes to a batch of one."""


def export_module(module: nn.Module, *, channels: int, size: tuple[int, int], kind: ModelFormat, path: Path) -> None:
    """Write a module as a file, for any batch and any size of picture as far as the module lets that be.

    Args:
        module: The network, in evaluation mode; it takes (batch, channel, height, width).
        channels: How many channels it reads.
        size: Height and width of the example, in pixels.
        kind: The format.
        path: The file.

    Raises:
        Unsupported: the exporter of PyTorch cannot write this network.
    """
    generator = torch.Generator().manual_seed(0)
    example = torch.rand(EXAMPLES, channels, *size, generator=generator)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # what exporters have to say to those who write them
            EXPORTERS[kind](module, example, path)
    except ImportError as error:
        raise Unsupported(f"writing {kind} without {error.name} (pip install 'phosphene[export]')") from error
    except Exception as error:  # exporters fail in many ways, and all of them mean this
        raise Unsupported(f"writing this network as {kind} ({_reason(error)})") from error


def _reason(error: BaseException) -> str:
    """Return the first line of what lies at the bottom: above it exporters teach how to report it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}"[:LONGEST_REASON] if lines else type(error).__name__


def _export_onnx(module: nn.Module, example: Tensor, path: Path) -> None:
    """Write ONNX without folding batch normalizations away, so that the layers before them keep their names."""
    if optimizer is None:
        raise ImportError(name="onnxscript")
    program = torch.onnx.export(
        module, (example,), dynamo=True, verbose=False, optimize=False, dynamic_shapes=_open_axes()
    )
    if program is None:
        raise RuntimeError("the exporter gave no program")
    # Of the exporter's optimizations only these: the others fold normalizations into the convolutions before them.
    optimizer.fold_constants(program.model)
    optimizer.remove_unused_nodes(program.model)
    program.save(path, external_data=_is_large(module))


def _export_torchscript(module: nn.Module, example: Tensor, path: Path) -> None:
    """Write a trace; where a network returns a dictionary, its keys name the outputs."""
    trace: Any = torch.jit.trace  # which has no annotations
    trace(module, example, check_trace=False, strict=False).save(str(path))


def _export_torch_export(module: nn.Module, example: Tensor, path: Path) -> None:
    torch.export.save(torch.export.export(module, (example,), dynamic_shapes=_open_axes()), path)


def _open_axes() -> tuple[dict[int, object]]:
    """Return that batch, height and width are open, as far as the network does not fix them."""
    return (dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO),)


def _is_large(module: nn.Module) -> bool:
    """Tell whether the weights come near what an ONNX file may hold."""
    weights: list[Tensor] = list(module.state_dict().values())
    return sum(tensor.numel() * tensor.itemsize for tensor in weights) > LARGEST_SINGLE_FILE_BYTES


EXPORTERS: Mapping[ModelFormat, Callable[[nn.Module, Tensor, Path], None]] = {
    "onnx": _export_onnx,
    "torchscript": _export_torchscript,
    "torch_export": _export_torch_export,
}
"""How each format is written."""
