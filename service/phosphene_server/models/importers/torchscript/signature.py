"""The inputs of a model: which tensors a caller gives, and how `forward` gets them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.torchscript.traced_inputs import TracedTensor


@dataclass(frozen=True)
class Leaf:
    """A place in the arguments where an input of the caller goes."""

    index: int


@dataclass
class Signature:
    """The inputs in order, and the arguments that are made of them."""

    names: list[str] = field(default_factory=list)
    arguments: list[Any] = field(default_factory=list)
    """Lists, tuples and dictionaries with Leaves, and constants."""
    traced: list[TracedTensor | None] = field(default_factory=list)
    """What the model was traced with, where the file says so."""

    def fill(self, inputs: Sequence[Any]) -> list[Any]:
        """Return the arguments with the inputs in their places."""
        return [_fill(argument, inputs) for argument in self.arguments]

    def add(self, name: str, traced: Any = None) -> Leaf:
        """Add an input."""
        while name in self.names:
            name = f"{name}_"
        self.names.append(name)
        self.traced.append(traced if isinstance(traced, TracedTensor) else None)
        return Leaf(len(self.names) - 1)


def read_signature(module: Any, traced: Sequence[Any] | None) -> Signature:
    """Read the inputs of a model.

    Tuples, lists and dictionaries of tensors become several inputs: `pair_0`, `pair_1`, `images_left`. What has a
    default that is no tensor keeps it.

    Args:
        module: The model.
        traced: The example inputs that it was traced with.

    Raises:
        UnsupportedModel: an input is no tensor and has no default, or it is a list whose length nobody tells.
    """
    method = module._get_method("forward")
    signature = Signature()
    values = list(method.graph.inputs())[1:]
    declared = list(method.schema.arguments)[1:]
    for position, (value, argument) in enumerate(zip(values, declared, strict=True)):
        example = traced[position] if traced is not None and position < len(traced) else None
        name = _plain_name(argument.name)
        reader = _Reader(signature, method.graph, value)
        signature.arguments.append(reader.read(value.type(), name, example, argument))
    return signature


class _Reader:
    """Reads one argument of `forward`."""

    def __init__(self, signature: Signature, graph: Any, value: Any) -> None:
        self._signature = signature
        self._graph = graph
        self._value = value

    def read(self, kind: Any, name: str, example: Any, argument: Any = None) -> Any:
        """Return what `forward` gets for a type; `argument`: of the schema, None inside of a container."""
        sort = kind.kind()
        if sort == "TensorType":
            return self._signature.add(name, example)
        if argument is not None and argument.has_default_value():
            return argument.default_value
        if sort == "OptionalType":
            return self.read(kind.getElementType(), name, example)
        if sort == "TupleType":
            examples = example if isinstance(example, tuple | list) else [None] * len(kind.elements())
            parts = zip(_part_names(kind), kind.elements(), examples, strict=True)
            return tuple(self.read(part, f"{name}_{label}", each) for label, part, each in parts)
        if sort == "ListType":
            count = len(example) if isinstance(example, list | tuple) else self._count(name)
            examples = example if isinstance(example, list | tuple) else [None] * count
            return [self.read(kind.getElementType(), f"{name}_{i}", each) for i, each in enumerate(examples)]
        if sort == "DictType":
            known = example if isinstance(example, dict) else dict.fromkeys(self._keys(name))
            return {key: self.read(kind.getValueType(), f"{name}_{key}", each) for key, each in known.items()}
        raise UnsupportedModel("", f"its input {name!r} is a {kind}, not a tensor, and has no default")

    def _count(self, name: str) -> int:
        """Return how many entries of a list the code names."""
        counts = [0]
        for node in self._users():
            if node.kind() == "prim::ListUnpack":
                counts.append(node.outputsSize())
            elif node.kind() == "aten::__getitem__":
                counts.append(_constant(node.inputsAt(1), int, -1) + 1)
        if max(counts) < 1:
            raise UnsupportedModel("", f"its input {name!r} is a list, and its code does not tell of how many tensors")
        return max(counts)

    def _keys(self, name: str) -> list[str]:
        """Return the keys of a dictionary that the code names."""
        nodes = [node for node in self._users() if node.kind() == "aten::__getitem__"]
        keys = dict.fromkeys(_constant(node.inputsAt(1), str, "") for node in nodes)
        if not keys or "" in keys:
            raise UnsupportedModel("", f"its input {name!r} is a dictionary, and its code does not tell its keys")
        return list(keys)

    def _users(self) -> Iterator[Any]:
        for node in _nodes(self._graph):
            inputs = list(node.inputs())
            if inputs and inputs[0].debugName() == self._value.debugName():
                yield node


def _fill(argument: Any, inputs: Sequence[Any]) -> Any:
    if isinstance(argument, Leaf):
        return inputs[argument.index]
    if isinstance(argument, dict):
        return {key: _fill(part, inputs) for key, part in argument.items()}
    if isinstance(argument, list | tuple):
        return type(argument)(_fill(part, inputs) for part in argument)
    return argument


def _nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _constant(value: Any, kind: type, otherwise: Any) -> Any:
    found = value.toIValue() if value.node().kind() == "prim::Constant" else None
    return found if isinstance(found, kind) else otherwise


def _part_names(kind: Any) -> list[str]:
    """Return the names of the parts of a tuple: those of its fields, or their positions."""
    fields = field_names(kind)
    return fields or [str(index) for index in range(len(kind.elements()))]


def field_names(kind: Any) -> list[str]:
    """Return the field names of a NamedTuple's type; nothing for another tuple."""
    text = kind.str() if kind.kind() == "TupleType" else ""
    if not text.startswith("NamedTuple("):
        return []
    inside = text[len("NamedTuple(") : -1]
    names, depth, start = [], 0, 0
    for position, letter in enumerate([*inside, ","]):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            names.append(inside[start:position].partition(" : ")[0].strip())
            start = position + 1
    return names


def _plain_name(name: str) -> str:
    return name.split(".", maxsplit=1)[0]
