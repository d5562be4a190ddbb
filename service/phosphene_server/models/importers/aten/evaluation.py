"""Evaluates a graph that is still being written, with numbers or on the meta device, with shapes alone."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import fx

from phosphene_server.models.graph import ancestors
from phosphene_server.models.importers.aten.examples import evaluate_example


def evaluate(graph: fx.Graph, wanted: Iterable[fx.Node], known: Mapping[fx.Node, Any]) -> dict[fx.Node, Any]:
    """Return the values of some nodes; no other value is kept longer than it is needed.

    Args:
        graph: The graph; it may lack an output.
        wanted: The nodes whose values are returned.
        known: The values of the inputs and constants.
    """
    wanted = set(wanted)
    needed = {*wanted, *ancestors(wanted)}
    readers = Counter(source for node in needed if node not in known for source in node.all_input_nodes)
    values = dict(known)
    with torch.no_grad():
        for node in graph.nodes:
            if node in needed and node not in known:
                arguments, keywords = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
                values[node] = evaluate_example(node.target, arguments, keywords)
                for source in node.all_input_nodes:
                    readers[source] -= 1
                    if not readers[source] and source not in wanted:
                        del values[source]
    return {node: values[node] for node in wanted}
