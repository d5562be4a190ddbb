"""Operators that are functions of other operators: calls are replaced by the nodes of the function.

ONNX defines many operators by a function body, and a file can bring functions of its own. An operator that has no
handler but a body is expanded before anything is translated, one level at a time, in subgraphs too. A body is written
for an operator set of its own, which may not be the file's; each of its nodes says which.

Whoever looks at the network sees the call, not its body: the outputs of the call keep their names and its place among
the author's modules, and the values within are no layers.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TypeProto, defs

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.onnx.walking import STANDARD_DOMAINS, nodes_of, subgraphs

OPERATOR_SET, INSIDE = "phosphene.operator_set", "phosphene.inside_function"
"""Keys of the metadata of a node that came from a function body: its operator set, and that no output of the call is
its own."""

MAXIMUM_NODES = 1_000_000
"""Nodes that the bodies of functions may add to a model; the largest networks have some ten thousand."""


def operator_set(node: NodeProto) -> int | None:
    """Return the operator set that a node of a function body was written for, None for other nodes."""
    text = _metadata(node, OPERATOR_SET)
    return int(text) if text is not None and text.isdecimal() else None


def is_inside_function(node: NodeProto) -> bool:
    """Return whether a node computes what only the body of a function sees."""
    return _metadata(node, INSIDE) is not None


class Expansion:
    """Replaces calls in one model by the bodies of their functions."""

    def __init__(self, proto: ModelProto, *, opset: int, name: str, has_handler: Callable[[NodeProto], bool]) -> None:
        self._proto = proto
        self._name = name
        self._has_handler = has_handler
        self._versions = {entry.domain: entry.version for entry in proto.opset_import} | {"": opset}
        self._functions = {(function.domain, function.name): function for function in proto.functions}
        self._counter = itertools.count()
        self._size = 0

    def expand(self, types: Mapping[str, TypeProto]) -> bool:
        """Replace every call that can be replaced, and return whether there was one.

        Args:
            types: The types of values, as far as they are known; some bodies depend on them.

        Raises:
            UnsupportedModel: the model becomes too large.
        """
        return self._expand_graph(self._proto.graph, types)

    def has_body(self, node: NodeProto) -> bool:
        """Return whether an operator may be a function; some bodies depend on types, and may still be missing."""
        if (node.domain, node.op_type) in self._functions:
            return True
        schema = self._schema(node)
        return schema is not None and bool(schema.has_function or schema.has_context_dependent_function)

    def _schema(self, node: NodeProto) -> Any:
        """Return the definition of an operator, None where ONNX has none. Its type stubs know little of functions."""
        domain, version = _domain(node), self._version(node)
        known = version and defs.has(node.op_type, version, domain)
        return defs.get_schema(node.op_type, version, domain) if known else None

    def _version(self, node: NodeProto) -> int:
        return (operator_set(node) if _domain(node) == "" else None) or self._versions.get(_domain(node), 0)

    def _expand_graph(self, graph: GraphProto, types: Mapping[str, TypeProto]) -> bool:
        changed = False
        nodes: list[NodeProto] = []
        for node in graph.node:
            body = None if self._has_handler(node) else self._body(node, types)
            changed |= body is not None
            nodes.extend([node] if body is None else self._instance(node, body))
        if changed:
            del graph.node[:]
            graph.node.extend(nodes)
        inner = [self._expand_graph(subgraph, types) for node in graph.node for subgraph in subgraphs(node)]
        return changed or any(inner)

    def _body(self, node: NodeProto, types: Mapping[str, TypeProto]) -> FunctionProto | None:
        """Return the function that a node calls, None where it calls none."""
        own = self._functions.get((node.domain, node.op_type))
        if own is not None:
            return own
        schema = self._schema(node)
        return None if schema is None else _schema_body(schema, node, self._version(node), types)

    def _instance(self, call: NodeProto, function: FunctionProto) -> list[NodeProto]:
        """Return the nodes of a function with the names and attributes of one call."""
        self._size += len(function.node)
        if self._size > MAXIMUM_NODES:
            raise UnsupportedModel(self._name, f"its operators expand to more than {MAXIMUM_NODES} nodes")
        prefix = f"{call.name or call.output[0]}/{call.op_type}_{next(self._counter)}"
        names = dict.fromkeys(function.input, "") | dict(zip(function.input, call.input, strict=False))
        names |= {formal: actual for formal, actual in zip(function.output, call.output, strict=False) if actual}
        attributes = _attributes(call, function)
        opset = {entry.domain: entry.version for entry in function.opset_import}.get("")
        nodes = []
        for template in function.node:
            node = NodeProto()
            node.CopyFrom(template)
            _rename(node, names, prefix)
            _bind(node, attributes)
            _mark(node, call, opset, inside=not set(node.output) & set(call.output))
            nodes.append(node)
        return nodes


def _schema_body(schema: Any, node: NodeProto, version: int, types: Mapping[str, TypeProto]) -> FunctionProto | None:
    """Return the body that ONNX defines for an operator, the newest that is not newer than the operator set."""
    fixed = [candidate for candidate in schema.function_opset_versions if candidate <= version]
    dependent = [candidate for candidate in schema.context_dependent_function_opset_versions if candidate <= version]
    try:
        if fixed:
            data = schema.get_function_with_opset_version(max(fixed))
        elif dependent:
            inputs = [types.get(name, TypeProto()).SerializeToString() for name in node.input]
            data = schema.get_context_dependent_function_with_opset_version(
                max(dependent), node.SerializeToString(), inputs
            )
        else:
            return None
    except Exception:  # onnx raises what its C++ side threw where a body needs a type that is not known
        return None
    function = FunctionProto.FromString(data)
    return function if function.node else None


def _attributes(call: NodeProto, function: FunctionProto) -> dict[str, AttributeProto]:
    """Return the attributes of a call, those left out with the defaults that the function or its schema gives."""
    attributes = {attribute.name: attribute for attribute in function.attribute_proto}
    if not attributes and defs.has(call.op_type, _domain(call)):
        for name, attribute in defs.get_schema(call.op_type, _domain(call)).attributes.items():
            if attribute.default_value.type != AttributeProto.UNDEFINED:
                attributes[name] = attribute.default_value
    return attributes | {attribute.name: attribute for attribute in call.attribute}


def _rename(node: NodeProto, names: Mapping[str, str], prefix: str) -> None:
    """Give the values of a node of a body the names of the call, those within the body names of their own."""
    node.input[:] = [_renamed(name, names, prefix) for name in node.input]
    node.output[:] = [_renamed(name, names, prefix) for name in node.output]
    for graph in subgraphs(node):
        for value in (*graph.input, *graph.output, *graph.value_info):
            value.name = _renamed(value.name, names, prefix)
        for tensor in graph.initializer:
            tensor.name = _renamed(tensor.name, names, prefix)
        for inner in graph.node:
            _rename(inner, names, prefix)


def _domain(node: NodeProto) -> str:
    return "" if node.domain in STANDARD_DOMAINS else node.domain


def _renamed(name: str, names: Mapping[str, str], prefix: str) -> str:
    return names.get(name, f"{prefix}/{name}") if name else ""


def _bind(node: NodeProto, attributes: Mapping[str, AttributeProto]) -> None:
    """Replace references to attributes of the function by what the call gives; without it they are left out."""
    kept = []
    for attribute in node.attribute:
        if attribute.ref_attr_name and attribute.ref_attr_name not in attributes:
            continue
        bound = AttributeProto()
        bound.CopyFrom(attributes[attribute.ref_attr_name] if attribute.ref_attr_name else attribute)
        bound.name = attribute.name
        kept.append(bound)
    del node.attribute[:]
    node.attribute.extend(kept)
    for graph in subgraphs(node):
        for inner in graph.node:
            _bind(inner, attributes)


def _mark(node: NodeProto, call: NodeProto, opset: int | None, *, inside: bool) -> None:
    """Note where a node comes from; nodes of subgraphs get the operator set too."""
    del node.metadata_props[:]
    node.metadata_props.extend(call.metadata_props)
    node.name = call.name
    if opset is not None:
        for part in (node, *(inner for graph in subgraphs(node) for inner in nodes_of(graph.node))):
            _set_metadata(part, OPERATOR_SET, str(opset))
    if inside:
        _set_metadata(node, INSIDE, call.op_type)


def _metadata(node: NodeProto, key: str) -> str | None:
    return next((entry.value for entry in node.metadata_props if entry.key == key), None)


def _set_metadata(node: NodeProto, key: str, value: str) -> None:
    kept = [entry for entry in node.metadata_props if entry.key != key]
    del node.metadata_props[:]
    node.metadata_props.extend(kept)
    node.metadata_props.add(key=key, value=value)
