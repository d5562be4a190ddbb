"""Walks the methods of a TorchScript module and runs their operators into a graph.

The graph of a method is not inlined: a call of a submodule's `forward` is a call of a module of the author's, so the
path of attributes that leads to it is the name of a layer. Control flow is decided or written down, see control.py.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from phosphene_server.errors import PhospheneError, UnsupportedModel
from phosphene_server.models.importers.aten.program import Program
from phosphene_server.models.importers.aten.shapes import Several
from phosphene_server.models.importers.aten.table import find_operator, functional_name, is_in_place
from phosphene_server.models.importers.aten.variables import Variable
from phosphene_server.models.importers.torchscript.frame import Frame
from phosphene_server.models.importers.torchscript.language import evaluate
from phosphene_server.models.importers.torchscript.schemas import named_arguments
from phosphene_server.models.importers.torchscript.values import (
    UNKNOWN,
    ModuleReference,
    ObjectReference,
    first_tensor,
)

MAXIMUM_OPERATIONS = 2_000_000
"""Operations that are run at most, so that a loop in a file cannot keep an import from ending."""
MAXIMUM_DEPTH = 100
"""Calls inside calls."""
OPERATIONS_PER_LOOK = 256
"""How many operations run between two looks at the clock."""


@dataclass(frozen=True)
class Saved:
    """What is forgotten when another branch is run from the same state."""

    layers: Any
    attributes: dict[str, Any]
    missing: dict[str, list[str]]


class Interpreter:
    """Runs the methods of the modules of one file."""

    def __init__(self, program: Program, unit: Any, *, deadline: float = float("inf")) -> None:
        """Take what the operators are written into, the compilation unit, and when to give up (`time.monotonic`)."""
        self.program = program
        self._unit = unit
        self._deadline = deadline
        self.missing: dict[str, list[str]] = {}
        """Operators that the table lacks, with the layers in which they were met."""
        self._operations = 0
        self._constants = 0
        self._attributes: dict[str, Any] = {}
        """Attributes of modules that were read, by path: who reads one twice gets the same thing."""
        self._assigned: dict[str, Any] = {}
        """Attributes that the program has assigned. The next evaluation starts without them."""
        self._frames: list[Frame] = []
        self._gradients = True

    def run_method(self, owner: Any, method: str, arguments: Sequence[Any], *, scope: str = "", depth: int = 0) -> Any:
        """Run a method of a module, or of an object in the module call `scope`, and return its value."""
        if isinstance(owner, ObjectReference):
            graph = self._unit.find_function(f"{owner.class_name}.{method}").graph
            return self.run_graph(graph, [owner, *arguments], scope, depth)
        return self.run_graph(owner.module._get_method(method).graph, [owner, *arguments], owner.scope, depth)

    def run_graph(self, graph: Any, arguments: Sequence[Any], scope: str, depth: int) -> Any:
        """Run a graph in a module call and return its value."""
        self._count()
        if depth > MAXIMUM_DEPTH:
            raise UnsupportedModel("", f"its calls are nested more than {MAXIMUM_DEPTH} deep")
        frame = Frame(self, scope, depth)
        self._frames.append(frame)
        try:
            results = frame.run(graph, arguments)
        finally:
            self._frames.pop()
        return results[0] if results else None

    def call_function(self, name: str, arguments: Sequence[Any], scope: str, depth: int) -> Any:
        """Run a free function of the file, in the module that calls it."""
        function = self._unit.find_function(name)
        return self.run_graph(function.graph, arguments, scope, depth + 1)

    def call_method(
        self, owner: Any, method: str, arguments: Sequence[Any], scope: str, depth: int, *, passed: Any = None
    ) -> Any:
        """Run a method; `forward` of another module is a layer.

        Args:
            owner: The module or object.
            method: The method's name.
            arguments: Its arguments without the owner.
            scope: The layer name of the module call from which it is called.
            depth: How deep that is nested.
            passed: What a module hands on that, in a trace, takes nothing and gives nothing.
        """
        is_layer = (
            isinstance(owner, ModuleReference)
            and method.startswith("forward")
            and owner.path != ""
            and owner.scope != scope
        )
        if not is_layer:
            return self.run_method(owner, method, arguments, scope=scope, depth=depth + 1)
        layers = self.program.layers
        called = ModuleReference(owner.path, layers.next_name(owner.path), owner.module)
        result = self.run_method(called, method, arguments, depth=depth + 1)
        value = first_tensor(passed if result is None and not arguments else result)
        if value is not None:
            layers.module(called.scope, value.read(), parent=scope)
        return result

    def run_operator(self, node: Any, arguments: list[Any], scope: str) -> Any:
        """Run an operator of the language or of aten."""
        self._count()
        kind = str(node.kind())
        if kind == "aten::set_grad_enabled":
            self._gradients = bool(arguments[0])
            return None
        if kind == "aten::is_grad_enabled":
            return self._gradients
        try:
            result = evaluate(self.program, kind, arguments)
            if result is not NotImplemented:
                return result
            namespace, _, operator = kind.partition("::")
            if namespace != "aten" or find_operator(operator) is None:
                self.missing.setdefault(kind, []).append(scope or "forward")
                return UNKNOWN
            if is_in_place(operator) and not isinstance(arguments[0], Variable):
                operator = functional_name(operator)  # A trace multiplies sizes in place; a number is a new one.
            result = self.program.run(operator, named_arguments(self.program, node, arguments), scope=scope)
        except PhospheneError as error:
            raise _located(error, kind, scope) from error
        except (RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError, AssertionError) as error:
            detail = f"{type(error).__name__}: {error}".splitlines()[0]
            raise UnsupportedModel("", f"cannot follow {kind}: {detail} (in {scope or 'forward'})") from error
        return result if self._gradients else self._without_gradient(result)

    def item(self, several: Several, index: int) -> Variable:
        """Return one of several tensors."""
        return self.program.item(several, index)

    def constant(self, value: torch.Tensor) -> Any:
        """Return a constant of the code; one without axes is a number."""
        if value.dim() == 0 and not value.is_complex():
            return value.item()
        self._constants += 1
        return self.trained(f"constant_{self._constants}", value)

    def attribute(self, owner: Any, name: str) -> Any:
        """Return the value of an attribute of a module or object."""
        if isinstance(owner, ObjectReference):
            return owner.attributes[name]
        if name == "training":
            return False  # As `eval()` would leave it.
        path = f"{owner.path}.{name}" if owner.path else name
        if path in self._assigned:
            return self._assigned[path]
        if path not in self._attributes:
            self._attributes[path] = self._convert(path, owner.module.getattr(name))
        return self._attributes[path]

    def assign(self, owner: Any, name: str, value: Any) -> None:
        """Assign to an attribute, until the end of the evaluation."""
        if isinstance(owner, ObjectReference):
            owner.attributes[name] = value
        else:
            self._assigned[f"{owner.path}.{name}" if owner.path else name] = value

    def trained(self, name: str, value: torch.Tensor) -> Variable:
        """Return a tensor of the file; half-precision ones in float32, in which the graph computes."""
        if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
            raise UnsupportedModel("", f"its tensor {name!r} is quantized, sparse or laid out for one kind of device")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise UnsupportedModel("", f"its tensor {name!r} is larger than what the file stores of it")
        wide = value.float() if value.dtype in {torch.float16, torch.bfloat16} else value
        return Variable(self.program.emit.tensor(name, wide))

    def live_values(self) -> Iterator[Any]:
        """Yield the values of all calls that are running, and of the attributes that were read."""
        yield self._assigned
        yield from self._attributes.values()
        for frame in self._frames:
            yield from frame.values.values()

    def save(self) -> Saved:
        """Return what `restore` needs to forget what has run since."""
        missing = {kind: list(places) for kind, places in self.missing.items()}
        return Saved(self.program.layers.save(), dict(self._attributes), missing)

    def restore(self, saved: Saved, *, keep_missing: bool) -> None:
        """Forget the layers and attributes, and maybe the missing operators, that were met since."""
        self.program.layers.restore(saved.layers)
        self._attributes = dict(saved.attributes)
        if not keep_missing:
            self.missing = {kind: list(places) for kind, places in saved.missing.items()}

    def check_attributes(self, saved: Saved) -> None:
        """Refuse a write to an attribute that was not read before."""
        for path, value in self._attributes.items():
            if path not in saved.attributes and isinstance(value, Variable) and value.version:
                raise UnsupportedModel("", f"a branch that depends on the input overwrites {path}")

    def _count(self) -> None:
        self._operations += 1
        if self._operations > MAXIMUM_OPERATIONS:
            raise UnsupportedModel("", f"it runs more than {MAXIMUM_OPERATIONS} operations")
        if self._operations % OPERATIONS_PER_LOOK == 0 and time.monotonic() > self._deadline:
            raise UnsupportedModel("", "its import takes too long")

    def _convert(self, path: str, value: Any) -> Any:
        if isinstance(value, torch.ScriptModule):
            return ModuleReference(path, path, value)
        if isinstance(value, torch.Tensor):
            return self.trained(path, value)
        if isinstance(value, list | tuple):
            return type(value)(self._convert(f"{path}.{index}", part) for index, part in enumerate(value))
        if isinstance(value, dict):
            return {key: self._convert(f"{path}.{key}", part) for key, part in value.items()}
        return value

    def _without_gradient(self, result: Any) -> Any:
        if isinstance(result, Variable):
            result.write(self.program.emit.call(torch.detach, result.read()))
        elif isinstance(result, tuple | list):
            for part in result:
                self._without_gradient(part)
        return result


def _located(error: PhospheneError, kind: str, scope: str) -> PhospheneError:
    """Say where an unsupported use was met, once."""
    if isinstance(error, UnsupportedModel) and not error.operators and " (in " not in error.detail:
        error.detail = f"{error.detail} (in {scope or 'forward'}, {kind})"
    return error
