"""One call of a method or function: the values of its graph and of the blocks in it."""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.aten.program import Program
from phosphene_server.models.importers.aten.shapes import Several
from phosphene_server.models.importers.aten.variables import Variable
from phosphene_server.models.importers.torchscript.control import raises, run_branch, run_loop
from phosphene_server.models.importers.torchscript.questions import is_a
from phosphene_server.models.importers.torchscript.values import UNKNOWN, ModuleReference, ObjectReference, is_unknown

if TYPE_CHECKING:
    from phosphene_server.models.importers.torchscript.interpreter import Interpreter


PASSING_CLASSES = ("StochasticDepth", "DropPath", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout")
"""Classes that a trace may show as a call without arguments and result; they are given what was computed last."""


class Frame:
    """The names of one call and what they stand for."""

    def __init__(self, interpreter: "Interpreter", scope: str, depth: int) -> None:
        self._interpreter = interpreter
        self.program: Program = interpreter.program
        self._scope = scope
        self._depth = depth
        self.values: dict[str, Any] = {}
        self._last: Any = None
        """The tensors that were computed last."""
        self._sequential = False
        """Whether it is the call of an `nn.Sequential`, in which every module gets what was computed last."""

    def run(self, block: Any, arguments: Sequence[Any]) -> list[Any]:
        """Run the nodes of a graph or block and return its outputs."""
        for parameter, argument in zip(block.inputs(), arguments, strict=True):
            self.values[parameter.debugName()] = argument
        if self._last is None:
            self._last = list(arguments)
            self._sequential = class_name(next(iter(arguments), None)) == "Sequential"
        for node in block.nodes():
            results = self._run_node(node)
            for output, result in zip(node.outputs(), results, strict=True):
                self.values[output.debugName()] = result
        return [self.values[output.debugName()] for output in block.outputs()]

    def live_values(self) -> Iterator[Any]:
        """Yield the values of all calls that are running, and of the attributes that were read."""
        return self._interpreter.live_values()

    def save(self) -> Any:
        """Return what `restore` needs to forget what has run since."""
        return self._interpreter.save()

    def restore(self, saved: Any, *, keep_missing: bool) -> None:
        """Forget the layers and attributes, and maybe the missing operators, that were met since."""
        self._interpreter.restore(saved, keep_missing=keep_missing)

    def check_attributes(self, saved: Any) -> None:
        """Refuse a write to an attribute that was not read before."""
        self._interpreter.check_attributes(saved)

    def _run_node(self, node: Any) -> Sequence[Any]:
        kind = node.kind()
        arguments = [self.values[value.debugName()] for value in node.inputs()]
        if kind in STATEMENTS:
            results: Sequence[Any] = STATEMENTS[kind](self, node, arguments)
            return results
        if any(is_unknown(argument) for argument in arguments):
            return [UNKNOWN] * node.outputsSize()
        result = self._interpreter.run_operator(node, arguments, self._scope)
        self._remember(result)
        return [result] if node.outputsSize() == 1 else self._spread(result, node.outputsSize())

    def _spread(self, value: Any, count: int) -> Sequence[Any]:
        """Return the parts of a value that several names receive."""
        if is_unknown(value):
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
        if isinstance(value, list):  # A new one each time: the program may change it.
            return [[self._interpreter.constant(each) if isinstance(each, torch.Tensor) else each for each in value]]
        return [value]

    def _get_attribute(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        if arguments[0] is UNKNOWN:
            return [UNKNOWN]
        self._check_owner(arguments[0], f"reads attribute {node.s('name')!r}")
        return [self._interpreter.attribute(arguments[0], node.s("name"))]

    def _set_attribute(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        self._check_owner(arguments[0], f"assigns to attribute {node.s('name')!r}")
        self._interpreter.assign(arguments[0], node.s("name"), arguments[1])
        return []

    def _call_method(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        owner = arguments[0]
        self._check_owner(owner, f"calls method {node.s('name')!r}")
        passed = self._last if self._sequential or _passes_on(owner) else None
        result = self._interpreter.call_method(
            owner, node.s("name"), arguments[1:], self._scope, self._depth, passed=passed
        )
        self._remember(result)
        return [result]

    def _remember(self, result: Any) -> None:
        if isinstance(result, Variable | tuple | list | Several):
            self._last = result

    def _check_owner(self, owner: Any, what: str) -> None:
        if not isinstance(owner, ModuleReference | ObjectReference):
            raise UnsupportedModel("", f"it {what} of something that is no module (in {self._scope or 'forward'})")

    def _call_function(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        result = self._interpreter.call_function(arguments[0], arguments[1:], self._scope, self._depth)
        self._remember(result)
        return [result]

    def _create(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        return [ObjectReference(str(node.output().type().qualified_name()))]

    def _enter(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        return [self._interpreter.run_method(arguments[0], "__enter__", [], depth=self._depth + 1)]

    def _exit(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        self._interpreter.run_method(arguments[0], "__exit__", [None, None, None], depth=self._depth + 1)
        return [None]

    def _fork(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        """Run at once what the original runs beside the rest."""
        return [self._interpreter.run_graph(node.g("Subgraph"), arguments, self._scope, self._depth + 1)]

    def _if(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        condition, blocks = arguments[0], list(node.blocks())
        if condition is UNKNOWN:
            going = [block for block in blocks if not raises(block)]
            return self.run(going[0], []) if len(going) == 1 else [UNKNOWN] * node.outputsSize()
        try:
            return run_branch(self, blocks, condition)
        except UnsupportedModel as error:
            raise self._located(error, node) from error

    def _loop(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        count, going, *carried = arguments
        if count is UNKNOWN or going is UNKNOWN:
            return [UNKNOWN] * node.outputsSize()
        try:
            return run_loop(self, next(iter(node.blocks())), count, going, carried)
        except UnsupportedModel as error:
            raise self._located(error, node) from error

    def _located(self, error: UnsupportedModel, node: Any) -> UnsupportedModel:
        """Say where control flow cannot be followed, once."""
        if not error.operators and " (in " not in error.detail:
            error.detail = f"{error.detail} (in {self._scope or 'forward'}{_line(node)})"
        return error

    def _raise(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        message = next((each for each in arguments if isinstance(each, str) and each), "no message")
        raise UnsupportedModel("", f"its code raises an error: {message[:200]}")

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

    def _tuple_slice(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        return [arguments[0][node.i("beg") : node.i("end")]]

    def _is_instance(self, node: Any, arguments: list[Any]) -> Sequence[Any]:
        kinds = [str(kind) for kind in node.tys("types")]
        return [UNKNOWN if arguments[0] is UNKNOWN else any(is_a(self.program, arguments[0], kind) for kind in kinds)]


STATEMENTS = {
    "prim::Constant": Frame._constant,
    "prim::GetAttr": Frame._get_attribute,
    "prim::SetAttr": Frame._set_attribute,
    "prim::CallMethod": Frame._call_method,
    "prim::CallFunction": Frame._call_function,
    "prim::CreateObject": Frame._create,
    "prim::Enter": Frame._enter,
    "prim::Exit": Frame._exit,
    "prim::fork": Frame._fork,
    "prim::If": Frame._if,
    "prim::Loop": Frame._loop,
    "prim::RaiseException": Frame._raise,
    "prim::ListConstruct": Frame._list,
    "prim::TupleConstruct": Frame._tuple,
    "prim::DictConstruct": Frame._dictionary,
    "prim::ListUnpack": Frame._unpack,
    "prim::TupleUnpack": Frame._unpack,
    "prim::TupleIndex": Frame._tuple_index,
    "prim::TupleSlice": Frame._tuple_slice,
    "prim::isinstance": Frame._is_instance,
}
"""What a frame does itself, because it needs the node and not its arguments alone."""


def _passes_on(owner: Any) -> bool:
    """Whether a module that does nothing acts on what was computed last: any dropout does, by class or by name."""
    name = class_name(owner)
    return name in PASSING_CLASSES or (name == "Identity" and "drop" in owner.path.rpartition(".")[2])


def class_name(owner: Any) -> str:
    """Return the name of a module's class without its path; empty for what is no module."""
    if not isinstance(owner, ModuleReference):
        return ""
    return str(owner.module._type().qualified_name()).rpartition(".")[2]


def _line(node: Any) -> str:
    """Return the place in the author's code as ", model.py:12", without folders; empty where the file does not say."""
    found = re.search(r"([^\s/\\\"]+\.py)\W+(?:line )?(\d+)", str(node.sourceRange()))
    return f", {found.group(1)}:{found.group(2)}" if found else ""
