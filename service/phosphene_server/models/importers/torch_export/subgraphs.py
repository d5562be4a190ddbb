"""Programs inside a program: regions in a mode of their own, and the two ways of a condition.

They are written into the program around them, so that the rest of the importer meets operators alone. Of a condition
both ways are written and one is chosen for every input. A region in which the author switched gradients off gives its
results detached, as it does in the original; the layers inside have their gradients.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.torch_export.arguments import names_in

HIGHER_ORDER = "torch.ops.higher_order."
REGIONS: Mapping[str, int] = {
    f"{HIGHER_ORDER}wrap_with_set_grad_enabled": 1,
    f"{HIGHER_ORDER}wrap_with_autocast": 4,  # The graph computes in the type of its input throughout.
    f"{HIGHER_ORDER}invoke_subgraph": 0,
}
"""Operators that run one program, and which of their arguments it is; what it reads is at the end."""
CONDITION = f"{HIGHER_ORDER}cond"
CHOICE = "phosphene.choice"
"""The operator that is written for a condition: the condition, the value if it holds, the value if not."""
MAXIMUM_DEPTH = 20
"""Programs inside programs."""

Document = Mapping[str, Any]


def inlined(graph: Document, *, depth: int = 0) -> list[Document]:
    """Return the nodes of a program with those of the programs inside it in their places.

    Raises:
        UnsupportedModel: programs are nested too deep, or read something that has no name.
    """
    if depth > MAXIMUM_DEPTH:
        raise UnsupportedModel("", f"its programs are nested more than {MAXIMUM_DEPTH} deep")
    return [written for node in graph["nodes"] for written in _written(node, depth)]


def _written(node: Document, depth: int) -> Iterator[Document]:
    arguments = [entry["arg"] for entry in node["inputs"]]
    target = node["target"]
    if target in REGIONS:
        position = REGIONS[target]
        operands = [argument for argument in arguments[position + 1 :] if "as_string" not in argument]
        results = yield from _region(node, arguments[position]["as_graph"], operands, depth)
        gradients_off = target.endswith("set_grad_enabled") and not arguments[0]["as_bool"]
        copying = "torch.ops.aten.detach.default" if gradients_off else "torch.ops.aten.alias.default"
        for result, output in zip(results, _parts(node), strict=True):
            yield _node(node, copying, {"self": result}, output)
    elif target == CONDITION:
        condition, first, second, operands = (*arguments[:3], _several(arguments[3:]))
        holds = yield from _region(node, first["as_graph"], operands, depth)
        otherwise = yield from _region(node, second["as_graph"], operands, depth)
        for one, other, output in zip(holds, otherwise, _parts(node), strict=True):
            yield _node(node, CHOICE, {"condition": condition, "first": one, "second": other}, output)
    else:
        yield node


def _region(
    node: Document, region: Document, operands: Sequence[Document], depth: int
) -> Generator[Document, None, list[Document]]:
    """Yield the nodes of a program under names of their own; returns its outputs."""
    program = region["graph"]
    prefix = f"{next(iter(names_in(node['outputs'])), '')}.{region['name']}."
    names = {
        inner: outer
        for document, operand in zip(program["inputs"], operands, strict=True)
        for inner, outer in zip(names_in(document), names_in(operand), strict=True)
    }
    for inner in inlined(program, depth=depth + 1):
        inputs = [{**entry, "arg": _renamed(entry["arg"], names, prefix)} for entry in inner["inputs"]]
        yield {**inner, "inputs": inputs, "outputs": _renamed(inner["outputs"], names, prefix)}
    return [_renamed(output, names, prefix) for output in program["outputs"]]


def _several(arguments: Sequence[Document]) -> list[Document]:
    """Return the operands of a condition, which come as one list of tensors or as one tuple."""
    found: list[Document] = []
    for argument in arguments:
        found += [{"as_tensor": each} for each in argument["as_tensors"]] if "as_tensors" in argument else [argument]
    return found


def _parts(node: Document) -> list[Document]:
    """Return the outputs of a node, of which one may be a list."""
    return _several(node["outputs"])


def _node(source: Document, target: str, arguments: Mapping[str, Document], output: Document) -> Document:
    inputs = [{"name": name, "arg": argument} for name, argument in arguments.items()]
    return {**source, "target": target, "inputs": inputs, "outputs": [output]}


def _renamed(document: Any, names: Mapping[str, str], prefix: str) -> Any:
    """Return the JSON of an argument with the names that the program around it has for its values."""
    if isinstance(document, list):
        return [_renamed(part, names, prefix) for part in document]
    if not isinstance(document, dict):
        return document
    return {
        key: names.get(value, prefix + value)
        if key in ("name", "as_name") and isinstance(value, str)
        else _renamed(value, names, prefix)
        for key, value in document.items()
    }
