"""A TorchScript file -> a ModelGraph."""

import re
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from phosphene_server.errors import DamagedModel, UnsupportedModel, first_line
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.aten.archive import read_archive
from phosphene_server.models.importers.aten.closing import close
from phosphene_server.models.importers.aten.program import Program
from phosphene_server.models.importers.aten.variables import Variable
from phosphene_server.models.importers.torchscript.examples import Examples, candidates
from phosphene_server.models.importers.torchscript.inspection import repack
from phosphene_server.models.importers.torchscript.interpreter import Interpreter
from phosphene_server.models.importers.torchscript.signature import Signature, field_names, read_signature
from phosphene_server.models.importers.torchscript.traced_inputs import read_traced_inputs
from phosphene_server.models.importers.torchscript.values import ModuleReference

MAXIMUM_SECONDS = 30.0
"""How long an import may take, so that a file cannot keep a server busy."""


def import_torchscript(path: Path, *, name: str, size: tuple[int, int] | None = None) -> ModelGraph:
    """Read a traced or scripted module.

    No code of the file is run. Layers are named as in the author's `named_modules()`; a module that is called again
    appears as `relu`, `relu@1`, `relu@2`. The graph is that of inference, whatever mode the module was saved in.

    Args:
        path: The archive that `torch.jit.save` wrote.
        name: The model's name, for messages.
        size: Height and width in pixels of the pictures that it is known to take. A scripted model does not say its
            own; without it likely ones are tried.

    Raises:
        DamagedModel: the archive cannot be read or is not what TorchScript writes.
        UnsupportedModel: it has code that would run while it is loaded, or operators that the table lacks; all of them
            are named, with the layers where they are used.
    """
    entries = read_archive(path, name=name)
    try:
        unit, module = compile_archive(repack(entries, name=name))
        content = entries.get("traced_inputs.pkl")
        traced = read_traced_inputs(content, name=name) if content else None
        return _import_with_examples(unit, module, read_signature(module, traced), size)
    except UnsupportedModel as error:
        error.model = name
        raise
    except (RuntimeError, KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        raise DamagedModel(name, f"its TorchScript cannot be read: {first_line(error)}") from error


def compile_archive(archive: bytes) -> tuple[Any, Any]:
    """Compile the code, which runs none of it, into a unit of our own; returns the unit and the model."""
    unit = torch._C.CompilationUnit()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*torch.jit.*", category=FutureWarning)
        load: Any = torch._C.import_ir_module_from_buffer  # its stub lacks the last argument
        module = load(unit, archive, torch.device("cpu"), {}, False)
    return unit, module


def _import_with_examples(unit: Any, module: Any, signature: Signature, size: tuple[int, int] | None) -> ModelGraph:
    """Import with the first example that fits all the way through, or else with the first that can be followed."""
    deadline = time.monotonic() + MAXIMUM_SECONDS
    problems: list[UnsupportedModel] = []
    best: _Run | None = None
    for examples in candidates(module, signature, size):
        try:
            run = _Run(unit, module, signature, examples, deadline)
        except UnsupportedModel as error:
            problems.append(error)
            continue
        if run.complete:
            return run.close()
        best = best or run
    if best is not None:
        return best.close()
    raise next((problem for problem in problems if problem.operators), problems[0])


class _Run:
    """An import with one example."""

    def __init__(self, unit: Any, module: Any, signature: Signature, examples: Examples, deadline: float) -> None:
        self._module = module
        self._names = signature.names
        self._program = Program()
        emit = self._program.emit
        inputs = [Variable(emit.input(name, each)) for name, each in zip(self._names, examples, strict=True)]
        interpreter = Interpreter(self._program, unit, deadline=deadline)
        result = interpreter.run_method(ModuleReference("", "", module), "forward", signature.fill(inputs))
        if interpreter.missing:
            rows = tuple((kind, tuple(dict.fromkeys(places))) for kind, places in sorted(interpreter.missing.items()))
            raise UnsupportedModel("", "its graph has operators that the importer lacks", rows)
        self._outputs = _name_outputs(result, module._get_method("forward"))
        self.complete = all(emit.example(variable.read()) is not None for _, variable in self._outputs)
        """Whether the example went through to the end."""

    def close(self) -> ModelGraph:
        """Return the graph."""
        producer = f"TorchScript {_class_name(self._module)}"
        return close(self._program, self._outputs, input_names=self._names, producer=producer)


def _name_outputs(result: Any, method: Any) -> list[tuple[str, Variable]]:
    kind = next(iter(method.graph.outputs())).type()
    names = field_names(kind)
    if names and isinstance(result, tuple):
        result = dict(zip(names, result, strict=True))
    found = _named_tensors(result, "output")
    return [("output", found[0][1])] if len(found) == 1 and not isinstance(result, dict) else found


def _named_tensors(value: Any, name: str) -> list[tuple[str, Variable]]:
    """Return the tensors in a result with names: `output`, `output_0`, or the keys of a dictionary."""
    if isinstance(value, Variable):
        return [(name, value)]
    if isinstance(value, dict):
        prefix = "" if name == "output" else f"{name}_"
        return [found for key, part in value.items() for found in _named_tensors(part, f"{prefix}{key}")]
    if isinstance(value, list | tuple):
        return [found for index, part in enumerate(value) for found in _named_tensors(part, f"{name}_{index}")]
    return []


def _class_name(module: Any) -> str:
    qualified = str(module._type().qualified_name()).removeprefix("__torch__.")
    return re.sub(r"___torch_mangle_\d+\.", "", qualified)
