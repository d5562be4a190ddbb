"""Late translation: a node whose handler needs what is known at run time alone is translated when it is evaluated.

A handler asks for axes, lengths, counts or a rank and gets numbers, wherever they come from. Where a file computes them
from activations, the handler cannot finish at import. Its node then becomes one call of a `LateOperation`: at
evaluation the same handler runs again, with the inputs that it asked for as constants and everything else as inputs of
a small graph of its own, which is evaluated at once. So there is one table of operators and one way to write them.

The small graphs are kept by the values of those constants and by the shapes of the other inputs. Gradients pass through
the other inputs; the constants decide which elements go where and have none.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from onnx import TensorProto
from torch import Tensor, fx

from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.importers.onnx.arguments import KnownAtRunTime
from phosphene_server.models.importers.onnx.constants import Constants
from phosphene_server.models.importers.onnx.operation import Handler, Operation
from phosphene_server.models.importers.onnx.tensors import ELEMENT_TYPES
from phosphene_server.models.importers.onnx.value_types import ValueType
from phosphene_server.models.importers.onnx.values import Value

MAXIMUM_GRAPHS = 32
"""Small graphs that a late operation keeps; the one that was used longest ago goes first."""

LARGEST_NUMBERS = 64
"""Elements of a tensor of the file that can be shapes, axes or the like; larger ones are parameters of the layer."""


class LateOperation:
    """One ONNX node as a function of tensors, whose handler runs when it is called."""

    def __init__(self, operation: Operation, handler: Handler) -> None:
        self.__name__ = f"late_{operation.node.op_type}"
        self._operation = operation.alone()
        self._handler = handler
        self._constants = {
            index: value for index, value in enumerate(operation.inputs) if value is None or _is_numbers(value)
        }
        self._types = operation.types
        self._needed: set[int] = set()
        self._graphs: OrderedDict[tuple[object, ...], fx.Interpreter] = OrderedDict()

    def arguments(self, inputs: Sequence[Value | None]) -> list[Value]:
        """Return those of a node's inputs that this function takes, in order."""
        return [value for index, value in enumerate(inputs) if index not in self._constants and value is not None]

    def __call__(self, reference: Tensor, *arguments: Any) -> Any:
        """Evaluate the node.

        Args:
            reference: A tensor of the device and the floating-point type of the graph.
            arguments: The inputs that `arguments` lists.

        Returns:
            Its output, a tuple of outputs if it has several.

        Raises:
            UnsupportedModel: the handler does not support what these inputs ask for.
        """
        while True:
            try:
                results = self._graph(reference, arguments).run(*arguments)
            except KnownAtRunTime as missing:
                self._require(missing)
            else:
                return results if len(self._operation.node.output) > 1 else results[0]

    def _require(self, missing: KnownAtRunTime) -> None:
        if missing.index is None or missing.index in self._needed:
            raise self._operation.unsupported(missing.detail)
        self._needed.add(missing.index)

    def _graph(self, reference: Tensor, arguments: Sequence[Any]) -> fx.Interpreter:
        """Return the small graph for these arguments, an old one if there is one."""
        placed = dict(zip(self._indices(arguments), arguments, strict=True))
        forms = (_form(value, with_values=index in self._needed) for index, value in placed.items())
        key = (reference.device, reference.dtype, *forms)
        if key not in self._graphs:
            self._graphs[key] = self._translated(reference, placed)
        self._graphs.move_to_end(key)
        if len(self._graphs) > MAXIMUM_GRAPHS:
            self._graphs.popitem(last=False)
        return self._graphs[key]

    def _indices(self, arguments: Sequence[Any]) -> list[int]:
        free = [index for index in range(len(self._types)) if index not in self._constants]
        return free[: len(arguments)]

    def _translated(self, reference: Tensor, placed: dict[int, Any]) -> fx.Interpreter:
        """Run the handler with the needed inputs as constants and the others as inputs of a new graph."""
        builder = GraphBuilder()
        nodes = {index: builder.input(f"input_{index}") for index in placed}
        values: dict[int, Value | None] = {**self._constants, **nodes}
        for index in self._needed.intersection(placed):
            values[index] = placed[index].detach().cpu()
        types = [_type(declared, placed.get(index)) for index, declared in enumerate(self._types)]
        inputs = [values[index] for index in range(len(self._types))]
        operation = self._operation.with_inputs(inputs, types, Constants(builder))
        results = self._handler(operation)
        results = results if isinstance(results, tuple) else (results,)
        builder.graph.output(tuple(operation.node_of(value) for value in results))
        builder.root.to(device=reference.device, dtype=reference.dtype)
        interpreter = fx.Interpreter(builder.root, graph=builder.graph)
        interpreter.extra_traceback = False  # it would write the small graph into every error
        return interpreter


def translate_late(operation: Operation, handler: Handler) -> tuple[Value, ...]:
    """Return the outputs of a node whose handler cannot finish at import."""
    late = LateOperation(operation, handler)
    arguments = [operation.node_of(value) for value in late.arguments(operation.inputs)]
    results = operation.evaluate(late, operation.reference(), *arguments)
    count = len(operation.node.output)
    return (results,) if count == 1 else operation.parts(results, count)


def _is_numbers(value: Value) -> bool:
    return isinstance(value, Tensor) and value.numel() <= LARGEST_NUMBERS


def _form(value: Any, *, with_values: bool) -> object:
    """Return what a small graph depends on: type and shape, and the elements of an input that it needs."""
    if not isinstance(value, Tensor):
        return type(value)
    form = (value.dtype, tuple(value.shape))
    return (*form, value.detach().cpu().contiguous().numpy().tobytes()) if with_values else form


def _type(declared: ValueType | None, value: Any) -> ValueType | None:
    """Return the type of an input as it is at run time."""
    if not isinstance(value, Tensor):
        return declared
    known = declared.element_type if declared is not None else TensorProto.UNDEFINED
    return ValueType(known or ELEMENT_TYPES.get(value.dtype, TensorProto.FLOAT), tuple(value.shape))
