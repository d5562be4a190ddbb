"""The end of an import: the layer table, what nobody needs, and the descriptions of inputs and outputs."""

from collections.abc import Sequence

from torch import fx

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.aten.batch import free_batch
from phosphene_server.models.importers.aten.flexibility import specify_inputs, specify_outputs
from phosphene_server.models.importers.aten.program import Program
from phosphene_server.models.importers.aten.variables import Variable


def close(
    program: Program, outputs: Sequence[tuple[str, Variable]], *, input_names: Sequence[str], producer: str
) -> ModelGraph:
    """Turn a program that has run into a ModelGraph.

    Args:
        program: All of its operators have run.
        outputs: The names and values of the model's outputs.
        input_names: The author's names of the inputs, in order.
        producer: What wrote the file.
    """
    if not outputs:
        raise UnsupportedModel("", "it returns no tensor")
    emit = program.emit
    nodes = [variable.read() for _, variable in outputs]
    program.layers.write()
    named = program.layers.nodes.union(nodes)
    _remove_unneeded(program.builder.graph, named)
    free_batch(emit, named)
    _remove_unneeded(program.builder.graph, named)
    inputs = specify_inputs(emit, nodes, input_names)
    return program.builder.build(
        nodes,
        input_specifications=inputs,
        output_specifications=specify_outputs(emit, nodes, inputs, [name for name, _ in outputs]),
        producer=producer,
    )


def _remove_unneeded(graph: fx.Graph, kept: set[fx.Node]) -> None:
    """Erase the nodes that neither an output nor a layer needs: sizes that nobody asked for, views written back."""
    for node in reversed(list(graph.nodes)):
        if node.op != "placeholder" and node not in kept and not node.users:
            graph.erase_node(node)
