"""Runs the operators of a program, one after the other, into a graph."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.layers import LayerRecorder
from phosphene_server.models.importers.aten.operators import Operator
from phosphene_server.models.importers.aten.shapes import Several
from phosphene_server.models.importers.aten.table import find_operator, functional_name, is_in_place
from phosphene_server.models.importers.aten.variables import Variable, read_all
from phosphene_server.models.importers.aten.views import PART, VIEWS, is_copy, shares_memory


class Program:
    """A graph being written by the operators of the author's program, in the order in which they run."""

    def __init__(self) -> None:
        self.builder = GraphBuilder()
        self.emit = Emitter(self.builder)
        self.layers = LayerRecorder(self.emit)

    def run(self, name: str, arguments: Mapping[str, Any], *, scope: str) -> Any:
        """Run one operator of the table.

        Args:
            name: Its aten name without namespace and overload, in-place forms included.
            arguments: Its arguments by the names of its schema; tensors are Variables.
            scope: The layer name of the module call in which it runs.

        Returns:
            Its results: Variables for tensors, Several for tensors that nobody has counted, numbers as they are. The
            in-place form returns the Variable that it overwrote.
        """
        row = find_operator(name)
        assert row is not None, f"{name} was not looked up before"
        self.builder.scope = scope
        result = row.lower(self.emit, {key: read_all(value) for key, value in arguments.items()})
        self._record(row, result, scope)
        if is_in_place(name):
            return self._overwrite(next(iter(arguments.values())), result)
        return self._wrap(functional_name(name), row, arguments, result)

    def item(self, several: Several, index: int) -> Variable:
        """Return one of several tensors."""
        count = self.emit.example(several.node)
        if count is not None and not -len(count) <= index < len(count):
            raise UnsupportedModel("", f"it takes tensor {index} of {len(count)}")
        index = index % len(count) if count is not None else index
        if index not in several.parts:
            make = several.make_part
            several.parts[index] = make(index) if make else Variable(self.emit.item(several.node, index))
        part: Variable = several.parts[index]
        return part

    def _record(self, row: Operator, result: Any, scope: str) -> None:
        node = result[0] if isinstance(result, tuple) else result
        if row.kind and isinstance(node, fx.Node) and self.emit.is_tensor(node):
            self.layers.operation(scope, self.emit.kinds.get(node, row.kind), node)

    def _overwrite(self, target: Variable, result: fx.Node) -> Variable:
        target.write(self._in_type_of(target.read(), result))
        return target

    def _in_type_of(self, target: fx.Node, result: fx.Node) -> fx.Node:
        """Return a result in the type of the memory that it is written to: whole numbers stay whole."""
        before, after = self.emit.example(target), self.emit.example(result)
        if before is None or after is None or before.dtype == after.dtype or before.is_floating_point():
            return result
        return self.emit.call(torch.Tensor.to, result, before.dtype)

    def _wrap(self, name: str, row: Operator, arguments: Mapping[str, Any], result: Any) -> Any:
        if isinstance(result, tuple | list):
            return type(result)(self._wrap(name, row, arguments, part) for part in result)
        if isinstance(result, Several):
            return self._divided(name, row, arguments, result)
        if not self.emit.is_tensor(result):
            return result
        variables = [value for value in arguments.values() if isinstance(value, Variable)]
        for variable in variables:
            if variable.read() is result:  # The operator does nothing in inference.
                return Variable(result) if is_copy(self.emit, name, arguments, result) else variable
        if variables and shares_memory(self.emit, name, variables[0].read(), result):
            return self._view(name, row, arguments, variables[0], result)
        return Variable(result)

    def _divided(self, name: str, row: Operator, arguments: Mapping[str, Any], result: Several) -> Several:
        """Make the several tensors of a division views of what was divided."""
        base = arguments.get("self")
        if name in VIEWS and isinstance(base, Variable):
            seen = base.version
            result.make_part = lambda index: self._view(
                name, row, arguments, base, self.emit.item(result.node, index), part=index, seen=seen
            )
        return result

    def _view(
        self,
        name: str,
        row: Operator,
        arguments: Mapping[str, Any],
        base: Variable,
        result: fx.Node,
        *,
        part: int | None = None,
        seen: int | None = None,
    ) -> Variable:
        """Return a variable that is a view of another; `part`: which of several; `seen`: of which version."""
        scatter = VIEWS[name]
        plain = {key: read_all(value) for key, value in arguments.items()}
        first = next(key for key, value in arguments.items() if value is base)

        def replay(node: fx.Node) -> fx.Node:
            replayed = row.lower(self.emit, {**plain, first: node})
            again: fx.Node = replayed if part is None else self.emit.item(replayed.node, part)
            return again

        def inverse(old: fx.Node, new: fx.Node) -> fx.Node:
            assert scatter is not None
            return scatter(self.emit, plain if part is None else {**plain, PART: part}, old, new)

        return Variable(
            result, base=base, replay=replay, inverse=inverse if scatter else None, operator=name, seen=seen
        )
