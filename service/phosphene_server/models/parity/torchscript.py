"""TorchScript files in PyTorch's own interpreter.

The archive is inspected and repacked as for the import. Of the code that is left, every operator is looked at once more
in the compiled form, where nothing can hide in the spelling, before any of it is run.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.aten.archive import read_archive
from phosphene_server.models.importers.torchscript.importer import compile_archive
from phosphene_server.models.importers.torchscript.inspection import FORBIDDEN_OPERATORS, KNOWN_NAMESPACES, repack
from phosphene_server.models.parity.deviations import BFLOAT16_TOLERANCE, HALF_TOLERANCE, TOLERANCE, Array, array_of
from phosphene_server.models.parity.original import CannotRun
from phosphene_server.models.parity.torchscript_layers import layer_values

TRAINING_ARGUMENTS: Mapping[str, int] = {
    "aten::dropout": 2,
    "aten::dropout_": 2,
    "aten::feature_dropout": 2,
    "aten::feature_dropout_": 2,
    "aten::alpha_dropout": 2,
    "aten::alpha_dropout_": 2,
    "aten::batch_norm": 5,
}
"""Operators that behave otherwise in training, and which argument says so; a trace holds it as a constant."""


class TorchScriptOriginal:
    """A TorchScript module in PyTorch's interpreter."""

    def __init__(self, path: Path, name: str) -> None:
        """Take the file, and the model's name for errors."""
        self.runtime = f"torch {torch.__version__} (TorchScript)"
        entries = read_archive(path, name=name)
        _, self._module = compile_archive(repack(entries, name=name))
        _leave_training(self._module)  # before anything is inlined, which keeps what it has seen
        types = [tensor.dtype for tensor in _tensors(self._module)]
        self._dtype = next((dtype for dtype in types if dtype.is_floating_point), torch.float32)
        half, bfloat16 = torch.float16 in types, torch.bfloat16 in types
        self.tolerance = BFLOAT16_TOLERANCE if bfloat16 else HALF_TOLERANCE if half else TOLERANCE

    def outputs(self, inputs: Sequence[Tensor]) -> list[Array]:
        """Return the outputs, those of a dictionary in its order; see `Original`."""
        _check_operators(self._module)
        try:
            with torch.no_grad(), _uncompiled(), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # what the author's code has to say
                result = self._module._get_method("forward")(*self._feeds(inputs))
        except RuntimeError as error:
            raise CannotRun(f"PyTorch cannot run it on this input: {_last_line(error)}") from error
        return [array_of(tensor) for tensor in _tensors_in(result)]

    def layers(self, graph: ModelGraph, inputs: Sequence[Tensor]) -> Mapping[str, Array]:
        """Return the values of the innermost modules."""
        _check_operators(self._module)
        try:
            with torch.no_grad(), _uncompiled(), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                values = layer_values(self._module, self._feeds(inputs))
        except RuntimeError as error:
            raise CannotRun(f"its layers cannot be shown: {_last_line(error)}") from error
        return {name: value for name, value in values.items() if name in graph.layers}

    def _feeds(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return copies in the type of the weights: the module may overwrite its input."""
        return [
            tensor.detach().cpu().to(self._dtype if tensor.is_floating_point() else tensor.dtype, copy=True)
            for tensor in inputs
        ]


def _uncompiled() -> Any:
    """Return a context in which the interpreter takes operators one by one: a single run is not worth a compilation."""
    return cast("Any", torch.jit).optimized_execution(False)  # which the module's own list of names lacks


def _modules(module: Any) -> Iterator[Any]:
    yield module
    for _, child in torch._C.ModuleDict(module).items():
        yield from _modules(child)


def _tensors(module: Any) -> Iterator[Tensor]:
    dictionary: Any = torch._C.ParameterDict
    for each in _modules(module):
        yield from (tensor for _, tensor in dictionary(each).items())


def _nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _check_operators(module: Any) -> None:
    """Refuse what reaches outside of the tensors that it is given, whichever way it is spelled in the code."""
    for node in _nodes(module._get_method("forward").inlined_graph):
        namespace, _, operator = node.kind().partition("::")
        if namespace not in KNOWN_NAMESPACES or operator in FORBIDDEN_OPERATORS:
            raise CannotRun(f"its operator {node.kind()} is not run")


def _leave_training(module: Any) -> None:
    """Turn a module that was saved in training mode into that of inference, as the importer reads it."""
    for each in _modules(module):
        if each.hasattr("training"):
            each.setattr("training", False)
        for method in each._method_names():
            _fix_training(each._get_method(method).graph)


def _fix_training(graph: Any) -> None:
    for node in list(_nodes(graph)):
        position = TRAINING_ARGUMENTS.get(node.kind())
        # A normalization that keeps no statistics takes those of the batch, in inference too.
        keeps_none = node.kind() == "aten::batch_norm" and node.inputsAt(3).type().kind() == "NoneType"
        if position is None or keeps_none or node.inputsAt(position).toIValue() is not True:
            continue
        with graph.insert_point_guard(node):
            constant = graph.insertConstant(False)
        node.replaceInput(position, constant)


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors_in(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors_in(part)


def _last_line(error: Exception) -> str:
    """Return what torch says at the end of a trace through the author's code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
