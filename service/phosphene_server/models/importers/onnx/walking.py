"""Walks what a file holds: nodes, subgraphs and tensors, those within others included."""

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto

STANDARD_DOMAINS = ("", "ai.onnx")
"""Both names of the domain of ONNX's own operators."""


def subgraphs(node: NodeProto) -> Iterator[GraphProto]:
    """Yield the graphs among the attributes of a node."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def nodes_of(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Yield nodes and those of all their subgraphs."""
    for node in nodes:
        yield node
        for subgraph in subgraphs(node):
            yield from nodes_of(subgraph.node)


def tensors_of(graph: GraphProto) -> Iterator[TensorProto]:
    """Yield every tensor of a graph, those in attributes and subgraphs included."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from _parts(sparse)
    yield from attribute_tensors(graph.node)


def attribute_tensors(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    """Yield the tensors in the attributes of nodes, and those of the subgraphs there."""
    for attribute in (attribute for node in nodes for attribute in node.attribute):
        # A damaged file can have what the declared type of the attribute does not let expect.
        yield from (*attribute.tensors, *((attribute.t,) if attribute.HasField("t") else ()))
        single = (attribute.sparse_tensor,) if attribute.HasField("sparse_tensor") else ()
        for sparse in (*attribute.sparse_tensors, *single):
            yield from _parts(sparse)
        for subgraph in (*attribute.graphs, *((attribute.g,) if attribute.HasField("g") else ())):
            yield from tensors_of(subgraph)


def _parts(sparse: SparseTensorProto) -> tuple[TensorProto, TensorProto]:
    return sparse.values, sparse.indices
