"""A TorchScript file -> a ModelGraph."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from phosphene_server.errors import DamagedModel, UnsupportedModel
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.aten.archive import read_archive
from phosphene_server.models.importers.aten.closing import close
from phosphene_server.models.importers.aten.program import Program
from phosphene_server.models.importers.aten.variables import Variable
from phosphene_server.models.importers.torchscript.inspection import repack
from phosphene_server.models.importers.torchscript.interpreter import Interpreter, ModuleReference

LENGTHS = (224, 32, 28, 64, 96, 128, 256, 299, 384, 512)
"""Picture sizes in pixels that are tried as the example of a scripted model, which does not say its own."""


def import_torchscript(path: Path, *, name: str) -> ModelGraph:
    """Read a traced or scripted module.

    No code of the file is run. Layers are named as in the author's `named_modules()`; a module that is called again
    appears as `relu`, `relu@1`, `relu@2`. The graph is that of inference, whatever mode the module was saved in.

    Args:
        path: The archive that `torch.jit.save` wrote.
        name: The model's name, for messages.

    Raises:
        DamagedModel: the archive cannot be read or is not what TorchScript writes.
        UnsupportedModel: it has code that would run while it is loaded, or operators that the table lacks; all of them
            are named, with the layers where they are used.
    """
    entries = read_archive(path, name=name)
    try:
        unit, module = _load(repack(entries, name=name), traced="traced_inputs.pkl" in entries)
        return _import_with_examples(unit, module)
    except UnsupportedModel as error:
        error.model = name
        raise
    except (RuntimeError, KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        raise DamagedModel(name, f"its TorchScript cannot be read: {_first_line(error)}") from error


def _load(archive: bytes, *, traced: bool) -> tuple[Any, Any]:
    """Compile the code, which runs none of it, into a unit of our own; returns the unit and the model."""
    unit = torch._C.CompilationUnit()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=FutureWarning)
        load: Any = torch._C.import_ir_module_from_buffer  # its stub lacks the last argument
        module = load(unit, archive, torch.device("cpu"), {}, traced)
    return unit, module


def _import_with_examples(unit: Any, module: Any) -> ModelGraph:
    """Import with the first example that fits all the way through."""
    problem: UnsupportedModel | None = None
    best: ModelGraph | None = None
    for examples in _candidates(module):
        try:
            graph, complete = _import_once(unit, module, examples)
        except UnsupportedModel as error:
            problem = problem or error
            continue
        if complete:
            return graph
        best = best or graph
    if best is None:
        assert problem is not None
        raise problem
    return best


def _import_once(unit: Any, module: Any, examples: Sequence[Tensor | None]) -> tuple[ModelGraph, bool]:
    program = Program()
    interpreter = Interpreter(program, unit)
    names = [value.debugName().split(".")[0] for value in _tensor_inputs(module)]
    inputs = [Variable(program.emit.input(name, example)) for name, example in zip(names, examples, strict=True)]
    result = interpreter.run_method(ModuleReference("", "", module), "forward", inputs)
    if interpreter.missing:
        rows = tuple((kind, tuple(dict.fromkeys(places))) for kind, places in sorted(interpreter.missing.items()))
        raise UnsupportedModel("", "its graph has operators that the importer lacks", rows)
    outputs = _name_outputs(result)
    graph = close(program, outputs, input_names=names, producer=f"TorchScript {_class_name(module)}")
    complete = all(program.emit.example(variable.read()) is not None for _, variable in outputs)
    return graph, complete


def _tensor_inputs(module: Any) -> list[Any]:
    inputs = list(module._get_method("forward").graph.inputs())[1:]
    for value in inputs:
        if value.type().kind() != "TensorType":
            raise UnsupportedModel("", f"its input {value.debugName()!r} is a {value.type()}, not a tensor")
    return inputs


def _candidates(module: Any) -> list[list[Tensor | None]]:
    """Return example inputs, likely ones first: what it was traced with, or what its first weight takes."""
    types = [value.type() for value in _tensor_inputs(module)]
    if all(kind.sizes() is not None for kind in types):
        return [[torch.empty(kind.sizes(), dtype=kind.dtype(), device="meta") for kind in types]]
    unknown: list[Tensor | None] = [None] * len(types)
    if len(types) > 1:
        return [unknown]
    dtype = next((weight.dtype for weight in _weights(module) if weight.is_floating_point()), torch.float32)
    guesses = [torch.empty(shape, dtype=dtype, device="meta") for shape in _plausible_shapes(module)]
    alone: list[list[Tensor | None]] = [[guess] for guess in guesses]
    return [*alone, unknown]


def _plausible_shapes(module: Any) -> list[tuple[int, ...]]:
    weights = [weight for weight in _weights(module) if weight.dim() >= 2]
    if not weights:
        return [(1, 3, length, length) for length in LENGTHS]
    # A weight with four axes is a convolution's; one with fewer may be a token or an embedding.
    weight = next((weight for weight in weights if weight.dim() == 4), weights[0])
    axes, channels = weight.dim() - 2, weight.shape[1]
    return [(1, channels, *(length,) * axes) for length in LENGTHS[: len(LENGTHS) if axes else 1]]


def _weights(module: Any) -> list[Tensor]:
    dictionary: Any = torch._C.ParameterDict
    own = [value for _, value in dictionary(module).items()]
    children = [weight for _, child in torch._C.ModuleDict(module).items() for weight in _weights(child)]
    return [*own, *children]


def _name_outputs(result: Any) -> list[tuple[str, Variable]]:
    found = _named_tensors(result, "output")
    return [("output", found[0][1])] if len(found) == 1 and not isinstance(result, dict) else found


def _named_tensors(value: Any, name: str) -> list[tuple[str, Variable]]:
    """Return the tensors in a result with names: `output`, `output_0`, or the keys of a dictionary."""
    if isinstance(value, Variable):
        return [(name, value)]
    if isinstance(value, dict):
        return [found for key, part in value.items() for found in _named_tensors(part, str(key))]
    if isinstance(value, list | tuple):
        return [found for index, part in enumerate(value) for found in _named_tensors(part, f"{name}_{index}")]
    return []


def _class_name(module: Any) -> str:
    qualified = str(module._type().qualified_name()).removeprefix("__torch__.")
    return re.sub(r"___torch_mangle_\d+\.", "", qualified)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
