"""Walks the methods of a TorchScript module and runs their operators into a graph.

The graph of a method is not inlined: a call of a submodule's `forward` is a call of a module of the author's, so the
path of attributes that leads to it is the name of a layer. Control flow is decided here, at import. Where it depends on
the size of the input, the example decides, and the graph checks at every evaluation that the answer is still the same.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from phosphene_server.errors import InvalidArgument, UnsupportedModel
from phosphene_server.models.importers.aten.program import Program
from phosphene_server.models.importers.aten.shapes import Several
from phosphene_server.models.importers.aten.table import find_operator
from phosphene_server.models.importers.aten.variables import Variable
from phosphene_server.models.importers.torchscript.language import evaluate

MAXIMUM_OPERATIONS = 2_000_000
"""Operations that are run at most, so that a loop in a file cannot keep an import from ending."""
MAXIMUM_DEPTH = 100
"""Calls inside calls."""

SCALAR_TYPES: dict[int, torch.dtype] = {
    0: torch.uint8,
    1: torch.int8,
    2: torch.int16,
    3: torch.int32,
    4: torch.int64,
    5: torch.float16,
    6: torch.float32,
    7: torch.float64,
    11: torch.bool,
    15: torch.bfloat16,
}
"""Numbers of the types, as in c10/core/ScalarType.h."""


@dataclass(frozen=True)
class ModuleReference:
    """A module of the file, and how the author's attributes lead to it."""

    path: str
    """`layer1.0.conv1`; empty for the model itself."""
    scope: str
    """The layer name of the call that is running in it: the path, with `@1` and so on when it is called again."""
    module: Any
    """The torch.ScriptModule."""


class Unknown:
    """The value of an operator that is missing from the table; what is computed from it is unknown too."""


UNKNOWN = Unknown()


class Interpreter:
    """Runs the methods of the modules of one file."""

    def __init__(self, program: Program, unit: Any) -> None:
        self._program = program
        self._unit = unit
        self.missing: dict[str, list[str]] = {}
        """Operators that the table lacks, with the layers in which they were met."""
        self._operations = 0
        self._constants = 0

    def run_method(self, owner: ModuleReference, method: str, arguments: Sequence[Any], *, depth: int = 0) -> Any:
        """Run a method of a module and return its value."""
        graph = owner.module._get_method(method).graph
        return self._run_graph(graph, [owner, *arguments], owner.scope, depth)

    def _run_graph(self, graph: Any, arguments: Sequence[Any], scope: str, depth: int) -> Any:
        if depth > MAXIMUM_DEPTH:
            raise UnsupportedModel("", f"its calls are nested more than {MAXIMUM_DEPTH} deep")
        frame = Frame(self, scope, depth)
        results = frame.run(graph, arguments)
        return results[0]

    def call_function(self, name: str, arguments: Sequence[Any], scope: str, depth: int) -> Any:
        """Run a free function of the file, in the module that calls it."""
        function = self._unit.find_function(name)
        return self._run_graph(function.graph, arguments, scope, depth + 1)

    def call_method(self, owner: ModuleReference, method: str, arguments: Sequence[Any], scope: str, depth: int) -> Any:
        """Run a method; `forward` of another module is a layer."""
        is_layer = method.startswith("forward") and owner.path != "" and owner.scope != scope
        if not is_layer:
            return self.run_method(owner, method, arguments, depth=depth + 1)
        layers = self._program.layers
        called = ModuleReference(owner.path, layers.next_name(owner.path), owner.module)
        result = self.run_method(called, method, arguments, depth=depth + 1)
        first = first_tensor(result)
        if first is not None:
            layers.module(called.scope, first.read(), parent=scope)
        return result

    def run_operator(self, node: Any, arguments: list[Any], scope: str) -> Any:
        """Run an operator of the language or of aten."""
        self._operations += 1
        if self._operations > MAXIMUM_OPERATIONS:
            raise UnsupportedModel("", f"it runs more than {MAXIMUM_OPERATIONS} operations")
        kind = str(node.kind())
        result = evaluate(self._program, kind, arguments)
        if result is not NotImplemented:
            return result
        namespace, _, operator = kind.partition("::")
        if namespace != "aten" or find_operator(operator) is None:
            self.missing.setdefault(kind, []).append(scope or "forward")
            return UNKNOWN
        return self._program.run(operator, _named(node, arguments), scope=scope)

    def guard(self, value: Any, condition: Any, expected: bool) -> Any:
        """Tie a value to the condition under which the import found it."""
        emit = self._program.emit
        if isinstance(value, Variable):
            return Variable(emit.call(same_branch, value.read(), condition, expected))
        if isinstance(value, int | float) or emit.is_open(value):
            return emit.number(same_branch, value, condition, expected)
        return value

    def decide(self, condition: Any) -> bool | None:
        """Return a condition's value, by the example where it depends on the input; None where nobody knows."""
        if isinstance(condition, Variable):
            raise UnsupportedModel("", "its control flow depends on the values of a tensor")
        known = self._program.emit.example(condition)
        return None if known is None else bool(known)

    def item(self, several: Several, index: int) -> Variable:
        """Return one of several tensors."""
        return self._program.item(several, index)

    def constant(self, value: torch.Tensor) -> Any:
        """Return a constant of the code; one without axes is a number."""
        if value.dim() == 0 and not value.is_complex():
            return value.item()
        self._constants += 1
        return self.trained(f"constant_{self._constants}", value)

    def attribute(self, path: str, value: Any) -> Any:
        """Return the value of a module's attribute."""
        if isinstance(value, torch.ScriptModule):
            return ModuleReference(path, path, value)
        if isinstance(value, torch.Tensor):
            return self.trained(path, value)
        if isinstance(value, list | tuple):
            return type(value)(self.attribute(f"{path}.{index}", part) for index, part in enumerate(value))
        return value

    def trained(self, name: str, value: torch.Tensor) -> Variable:
        """Return a tensor of the file."""
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise UnsupportedModel("", f"its tensor {name!r} is larger than what the file stores of it")
        return Variable(self._program.emit.tensor(name, value))


class Frame:
    """One call: the values of a graph and of the blocks in it."""

    def __init__(self, interpreter: Interpreter, scope: str, depth: int) -> None:
        self._interpreter = interpreter
        self._scope = scope
        self._depth = depth
        self._values: dict[str, Any] = {}

    def run(self, block: Any, arguments: Sequence[Any]) -> list[Any]:
        """Run the nodes of a graph or block and return its outputs."""
        for parameter, argument in zip(block.inputs(), arguments, strict=True):
            self._values[parameter.debugName()] = argument
        for node in block.nodes():
            results = self._run_node(node)
            for output, result in zip(node.outputs(), results, strict=True):
                self._values[output.debugName()] = result
        return [self._values[output.debugName()] for output in block.outputs()]

    def _run_node(self, node: Any) -> Sequence[Any]:
        kind = node.kind()
        arguments = [self._values[value.debugName()] for value in node.inputs()]
        if kind in STATEMENTS:
            results: Sequence[Any] = STATEMENTS[kind](self, node, arguments)
            return results
        if any(argument is UNKNOWN for argument in arguments):
            return [UNKNOWN] * node.outputsSize()
        result = self._interpreter.run_operator(node, arguments, self._scope)
        return [result] if node.outputsSize() == 1 else self._spread(result, node.outputsSize())

    def _spread(self, value: Any, count: int) -> Sequence[Any]:
        """Return the parts of a value that several names receive."""
        if value is UNKNOWN:
            return [UNKNOWN] * count
        if isinstance(value, Several):
            return [self._interpreter.item(value, index) for index in range(count)]
        parts = [] if count == 0 else list(value)
        if len(parts) != count:
            raise UnsupportedModel("", f"it unpacks {len(parts)} values into {count} names")
        return parts

    def _constant(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        output = node.output()
        if output.type().kind() == "FunctionType":
            return [str(output.type().annotation_str)]
        value = output.toIValue()
        if isinstance(value, torch.Tensor):
            return [self._interpreter.constant(value)]
        return [value]

    def _get_attribute(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        owner, name = arguments[0], node.s("name")
        if not isinstance(owner, ModuleReference):
            raise UnsupportedModel("", f"it reads attribute {name!r} of an object that is no module")
        if name == "training":
            return [False]  # As `eval()` would leave it.
        path = f"{owner.path}.{name}" if owner.path else name
        return [self._interpreter.attribute(path, owner.module.getattr(name))]

    def _call_method(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        owner = arguments[0]
        if not isinstance(owner, ModuleReference):
            raise UnsupportedModel("", f"it calls method {node.s('name')!r} of an object that is no module")
        return [self._interpreter.call_method(owner, node.s("name"), arguments[1:], self._scope, self._depth)]

    def _call_function(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        return [self._interpreter.call_function(arguments[0], arguments[1:], self._scope, self._depth)]

    def _if(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        condition = arguments[0]
        if condition is UNKNOWN:
            return [UNKNOWN] * node.outputsSize()
        blocks = list(node.blocks())
        raising = [_raises(block) for block in blocks]
        open_condition = not isinstance(condition, bool | int)
        if open_condition and any(raising):
            # The original would have ended here, so whoever goes on takes the other way.
            return self.run(blocks[raising.index(False)], [])
        decided = self._interpreter.decide(condition)
        if decided is None:
            raise UnsupportedModel("", "its control flow depends on a size that is not known")
        results = self.run(blocks[0 if decided else 1], [])
        if not open_condition:
            return results
        if not results and _has_effects(blocks[1 if decided else 0]):
            raise UnsupportedModel("", "it changes lists depending on the size of the input")
        return [self._interpreter.guard(result, condition, decided) for result in results]

    def _loop(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        count, going, *carried = arguments
        if not isinstance(count, int):
            raise UnsupportedModel("", "the number of rounds of a loop depends on the input")
        block = next(iter(node.blocks()))
        for index in range(count):
            if self._interpreter.decide(going) is not True:
                break
            going, *carried = self.run(block, [index, *carried])
        return carried

    def _raise(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        raise UnsupportedModel("", "its code raises an error for every input")

    def _list(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        return [arguments]

    def _tuple(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        return [tuple(arguments)]

    def _dictionary(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        return [dict(zip(arguments[::2], arguments[1::2], strict=True))]

    def _unpack(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        return self._spread(arguments[0], node.outputsSize())

    def _tuple_index(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        return [UNKNOWN if arguments[0] is UNKNOWN else arguments[0][arguments[1]]]


STATEMENTS = {
    "prim::Constant": Frame._constant,
    "prim::GetAttr": Frame._get_attribute,
    "prim::CallMethod": Frame._call_method,
    "prim::CallFunction": Frame._call_function,
    "prim::If": Frame._if,
    "prim::Loop": Frame._loop,
    "prim::RaiseException": Frame._raise,
    "prim::ListConstruct": Frame._list,
    "prim::TupleConstruct": Frame._tuple,
    "prim::DictConstruct": Frame._dictionary,
    "prim::ListUnpack": Frame._unpack,
    "prim::TupleUnpack": Frame._unpack,
    "prim::TupleIndex": Frame._tuple_index,
}
"""What a frame does itself, because it needs the node and not its arguments alone."""


def same_branch(value: Any, condition: bool, expected: bool) -> Any:
    """Return `value` if the model would still take the branch that was imported.

    Raises:
        InvalidArgument: for this size of input it would take the other.
    """
    if bool(condition) != expected:
        raise InvalidArgument(
            "size", "this input size", "a size for which the scripted model takes the imported branch"
        )
    return value


def first_tensor(value: Any) -> Variable | None:
    """Return the first tensor in a value, None where there is none."""
    if isinstance(value, Variable):
        return value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return next((found for found in map(first_tensor, parts) if found is not None), None)


def _named(node: Any, arguments: list[Any]) -> dict[str, Any]:
    """Return the arguments by the names of the operator's schema, numbers of types turned into types."""
    named = dict(zip(_argument_names(str(node.schema())), arguments, strict=True))
    if isinstance(named.get("dtype"), int):
        named["dtype"] = SCALAR_TYPES[named["dtype"]]
    return named


@functools.cache
def _argument_names(schema: str) -> tuple[str, ...]:
    return tuple(argument.name for argument in torch._C.parse_schema(schema).arguments)


def _raises(block: Any) -> bool:
    return any(node.kind() == "prim::RaiseException" for node in block.nodes())


def _has_effects(block: Any) -> bool:
    return any(node.kind() != "prim::Constant" for node in block.nodes())
