"""The author's layer names.

An exporter keeps the module in which an operation was called, in one of two forms:

    torch.export based   metadata pkg.torch.onnx.name_scopes = ['', 'layer1', 'layer1.0', 'layer1.0.conv1', 'conv2d_1']
    TorchScript based    node name /layer1/layer1.0/conv1/Conv

The output of a module is the last of its activations that is used outside of it. A module with a single operation is a
row of that operation's kind; one with several is a row of kind `module`, or of the kind of the one operation among them
that has filters (a product and the addition of a bias are a linear layer). Other operations have rows of their own,
`layer1.0.add`, unless the module that they are in ends with them. A module that is called again is `relu@1`, as
torch.export has it; the TorchScript exporter writes `relu_1` itself, which cannot be told from a name that the author
chose.

Both exporters fold batch normalization into the convolution before it. The first calls the result `bn1`, which is what
its value is. The second calls it `conv1` although it is normalized: the name of the normalization is not in the file.
"""

import ast
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from onnx import NodeProto
from torch import fx

from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.graph import FilterGeometry

SCOPES_KEY = "pkg.torch.onnx.name_scopes"

PATH_PRODUCERS = ("pytorch", "onnx.quantize")
"""Who writes paths of modules as names of nodes, and ONNX Runtime's quantizer, which keeps those of the exporter."""

DEQUANTIZED = "_DequantizeLinear_Output"
"""What ONNX Runtime's quantizer puts behind the name of a tensor for what it gives once it is dequantized."""

MADE_UP_NAME = re.compile(r"val_\d+|onnx::\w+|\d+")
"""What the exporters call tensors that they computed from those of the author."""


@dataclass(frozen=True)
class Activation:
    """A value of the graph that can be a layer."""

    tensor: str
    """Its name in the file."""
    node: fx.Node
    kind: str
    scopes: tuple[str, ...]
    """The modules that it was computed in, the outermost first, each as its path from the root."""
    name: str
    """What it is called within the innermost of them; with none, the whole name."""
    parameters: tuple[str, ...] = ()
    filters: FilterGeometry | None = None
    sources: tuple[str, ...] = field(default=(), compare=False)
    """The names of the values that it was computed from."""
    hidden: bool = False
    """Whether it is inside of an operator: no layer, but what it was computed from is used by its operator."""


def place_of(node: NodeProto, output: str, *, producer: str, weight: str | None) -> tuple[tuple[str, ...], str]:
    """Return the modules of a node, the outermost first, and its own name within them.

    Args:
        node: The node.
        output: The name of the output that is meant.
        producer: The name of the exporter.
        weight: The name of the first trained tensor that the node reads.
    """
    for entry in node.metadata_props:
        if entry.key == SCOPES_KEY:
            return _from_metadata(entry.value, output)
    if producer in PATH_PRODUCERS and node.name.startswith("/"):
        return _from_path(node.name)
    if producer == "pytorch" and weight is not None and weight.endswith(".weight"):
        return (), weight.removesuffix(".weight")  # exporters before 1.13 name nodes Conv_0 and tensors as the author
    return (), node.name or output


def is_made_up(name: str) -> bool:
    """Return whether an exporter made the name of a tensor up: it computed the tensor from others."""
    return MADE_UP_NAME.fullmatch(name) is not None


def _from_metadata(text: str, output: str) -> tuple[tuple[str, ...], str]:
    try:
        parts = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return (), output
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
        return (), output
    scopes = tuple(part for part in parts[:-1] if part and not part.startswith("_empty_nn_module_stack"))
    return scopes, parts[-1]


def _from_path(text: str) -> tuple[tuple[str, ...], str]:
    """Read `/layer1/layer1.0/conv1/Conv`; a child of a container repeats the container's own name."""
    *parts, name = text.strip("/").split("/")
    scopes: list[str] = []
    parent, last = "", ""
    for part in parts:
        if last and part.startswith(f"{last}."):
            path = f"{parent}.{part}" if parent else part
        else:
            parent = scopes[-1] if scopes else ""
            path = f"{parent}.{part}" if parent else part
        last = part
        scopes.append(path)
    return tuple(scopes), name


def name_layers(builder: GraphBuilder, activations: Sequence[Activation], outputs: Iterable[str]) -> None:
    """Fill the layer table of a graph, operations before the modules that they end.

    Args:
        builder: The graph.
        activations: All values that can be layers, in the order of execution.
        outputs: The tensors that the graph gives, as activations are called.
    """
    calls = _module_calls(activations)
    visible = [activation for activation in activations if not activation.hidden]
    members: dict[str, list[Activation]] = {}
    inner: set[str] = set()
    for activation in visible:
        for call in calls[activation.tensor]:
            members.setdefault(call, []).append(activation)
        inner.update(calls[activation.tensor][:-1])
    ends = _module_outputs(activations, calls, members, set(outputs))
    leaves = {call for call in members if call not in inner}
    modules = {ends[call].tensor for call in leaves}
    modules |= {ends[call].tensor for call in inner if call == calls[ends[call].tensor][-1]}
    modules |= {members[call][0].tensor for call in leaves if _biased(builder, members[call]) is not None}
    _name_operations(builder, visible, calls, modules, set(members))
    for call in sorted(members, key=lambda name: (name in inner, -name.count("."))):
        if call in leaves:
            _name_leaf(builder, call, members[call], ends[call])
        else:
            builder.layer(call, "module", ends[call].node)


def _module_calls(activations: Sequence[Activation]) -> dict[str, tuple[str, ...]]:
    """Return for each activation the calls of modules that it belongs to: `relu`, and `relu@1` when called again.

    Operations of one call follow one another, so a module that comes back after something else was called again.
    """
    finished: Counter[str] = Counter()
    current: dict[str, str] = {}
    calls: dict[str, tuple[str, ...]] = {}
    for activation in activations:
        for scope in set(current) - set(activation.scopes):
            del current[scope]
            finished[scope] += 1
        for scope in activation.scopes:
            if scope not in current:
                current[scope] = f"{scope}@{finished[scope]}" if finished[scope] else scope
        calls[activation.tensor] = tuple(current[scope] for scope in activation.scopes)
    return calls


def _module_outputs(
    activations: Sequence[Activation],
    calls: Mapping[str, tuple[str, ...]],
    members: Mapping[str, list[Activation]],
    outputs: set[str],
) -> dict[str, Activation]:
    """Return the activation that each call of a module ends in: the last one that is used outside of it."""
    escaped: set[tuple[str, str]] = set()
    for activation in activations:
        inside = set(calls[activation.tensor])
        for source in activation.sources:
            escaped.update((call, source) for call in calls.get(source, ()) if call not in inside)
    for tensor in outputs:
        escaped.update((call, tensor) for call in calls.get(tensor, ()))
    ends: dict[str, Activation] = {}
    for call, inside_call in members.items():
        used = [activation for activation in inside_call if (call, activation.tensor) in escaped]
        ends[call] = (used or inside_call)[-1]
    return ends


def _name_operations(
    builder: GraphBuilder,
    activations: Sequence[Activation],
    calls: Mapping[str, tuple[str, ...]],
    modules: set[str],
    taken: set[str],
) -> None:
    """Add rows for operations that no module stands for.

    Of several that came from one call in the author's code (`linear` is a product and an addition) the last has its
    name, the others those of their tensors.
    """
    last = {(calls[activation.tensor], activation.name): activation.tensor for activation in activations}
    taken = set(taken)
    for activation in activations:
        if activation.tensor in modules:
            continue
        scope = calls[activation.tensor]
        own = activation.name if last[scope, activation.name] == activation.tensor else activation.tensor
        name = unused_name(f"{scope[-1]}.{own}" if scope else own, taken)
        taken.add(name)
        builder.layer(
            name, activation.kind, activation.node, parameters=activation.parameters, filters=activation.filters
        )


def _name_leaf(builder: GraphBuilder, name: str, members: Sequence[Activation], end: Activation) -> None:
    """Add the row of a module that calls no other."""
    parameters = tuple(dict.fromkeys(target for member in members for target in member.parameters))
    having = [member for member in members if member.filters is not None]
    if len(members) == 1:
        builder.layer(name, end.kind, end.node, parameters=end.parameters, filters=end.filters)
    elif len(having) == 1:
        filters = _biased(builder, members) or having[0].filters
        builder.layer(name, having[0].kind, end.node, parameters=parameters, filters=filters)
    else:
        builder.layer(name, "module", end.node, parameters=parameters)


def _biased(builder: GraphBuilder, members: Sequence[Activation]) -> FilterGeometry | None:
    """Return the filters of a linear module that the exporter wrote as a product and the addition of its bias."""
    if len(members) != 2:
        return None
    product, addition = members
    if product.filters is None or product.kind != "linear" or product.filters.bias is not None:
        return None
    if addition.kind != "addition" or product.tensor not in addition.sources or len(addition.parameters) != 1:
        return None
    weight, bias = (builder.root.get_buffer(target) for target in (product.filters.weight, addition.parameters[0]))
    return replace(product.filters, bias=addition.parameters[0]) if bias.shape == weight.shape[:1] else None


def unused_name(name: str, taken: Collection[str]) -> str:
    """Return the name, or the first of name@1, name@2, ... that is free."""
    candidate, count = name, 0
    while candidate in taken:
        count += 1
        candidate = f"{name}@{count}"
    return candidate
