"""One run of a graph in which everything is written down that the layer table tells about its nodes.

The graph runs node by node on a picture. Below each node the aten operations are watched, so that what an importer
wrote as a function of its own needs no rule of its own: only the operators of torch have rules.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary

from phosphene_server.models.multiply_accumulates import COUNTS
from phosphene_server.models.receptive_fields import (
    ELEMENTWISE,
    RULES,
    Call,
    Sight,
    constant,
    picture_channels_first,
    picture_channels_last,
)

STEPS = frozenset({"floor", "ceil", "round", "trunc", "sign", "sgn", "heaviside"})
"""Operators whose derivative is zero wherever it exists. What contains one is asked for its gradient."""


@dataclass(frozen=True)
class NodeRecord:
    """What was seen of a node."""

    shape: tuple[int, ...]
    sight: Sight | None
    """What its elements see of the picture; None where an operation is in the way that has no rule."""
    multiply_accumulates: int
    """Of this node alone, for the whole batch."""
    gradient_reaches_input: bool
    """Whether a gradient of it with respect to the picture is defined and not zero by nature."""


def survey(
    module: fx.GraphModule, inputs: Sequence[Tensor], *, picture: int | None = 0, channels_last: bool = False
) -> dict[str, NodeRecord]:
    """Run a graph once and return what was seen of its nodes, by their names.

    Args:
        module: A graph of functional operations.
        inputs: Its inputs, of as many pictures as it takes.
        picture: Which of them is the picture; None: none is.
        channels_last: Whether that is (batch, height, width, channel) and not (batch, channel, height, width).
    """
    surveyor = _Surveyor(module, picture, channels_last=channels_last)
    surveyor.run(*inputs)
    return surveyor.records


class _Surveyor(fx.Interpreter):
    """Runs a graph; every node gets its arguments detached, so that no more than one node's memory is held."""

    def __init__(self, module: fx.GraphModule, picture: int | None, *, channels_last: bool) -> None:
        super().__init__(module)
        self.records: dict[str, NodeRecord] = {}
        self._watch = _Watch()
        self._channels_last = channels_last
        placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
        self._picture = placeholders[picture] if picture is not None else None

    def run_node(self, n: fx.Node) -> object:
        """Run a node, write down what it did, and cut its value off from what computed it."""
        self._watch.begin()
        if n.op in ("output", "get_attr"):
            return self._kept(n, super().run_node(n))
        with torch.enable_grad(), self._watch:
            value: object = super().run_node(n)
        if n is self._picture and isinstance(value, Tensor):
            return self._seen(n, self._begun(value))
        return self._seen(n, tree_map(self._released(n), value))

    def _kept(self, node: fx.Node, value: object) -> object:
        """Write down a trained tensor, which does not depend on the picture."""
        if node.op == "get_attr" and isinstance(value, Tensor):
            value = value.detach()
            self._watch.sights[value] = constant(value.shape)
            return self._seen(node, value)
        return value

    def _begun(self, value: Tensor) -> Tensor:
        """Return the picture, of which gradients are asked."""
        start = value.detach().clone().requires_grad_(value.is_floating_point())
        self._watch.sights[start] = self._sight_of_picture(start)
        return start

    def _sight_of_picture(self, start: Tensor) -> Sight | None:
        if start.dim() != 4:
            return None
        return picture_channels_last(start.shape) if self._channels_last else picture_channels_first(start.shape)

    def _released(self, node: fx.Node) -> Callable[[object], object]:
        inputs = [value for value in tree_leaves(self._arguments(node)) if isinstance(value, Tensor)]

        def release(value: object) -> object:
            if not isinstance(value, Tensor):
                return value
            flows = value.requires_grad and _has_gradient(value, inputs, certain=not self._watch.stepped)
            free = value.detach().requires_grad_(flows)
            if value in self._watch.sights:
                self._watch.sights[free] = self._watch.sights[value]
            return free

        return release

    def _arguments(self, node: fx.Node) -> object:
        if node.op not in ("call_function", "call_module"):
            return ()
        return fx.node.map_arg((node.args, node.kwargs), self.env.get)

    def _seen(self, node: fx.Node, value: object) -> object:
        count = self._watch.count
        if isinstance(value, Tensor):
            sight = self._watch.find(value)
            self.records[node.name] = NodeRecord(tuple(value.shape), sight, count, value.requires_grad)
        elif count:  # an operation with several results, each of which is the value of another node
            self.records[node.name] = NodeRecord((), None, count, gradient_reaches_input=False)
        return value


def _has_gradient(value: Tensor, inputs: Sequence[Tensor], *, certain: bool) -> bool:
    """Whether a node's value has a gradient for one of the node's inputs; if not `certain`, one that is not zero."""
    sources = [tensor for tensor in inputs if tensor.requires_grad]
    if certain or not sources:
        return bool(sources)
    weights = torch.linspace(0.5, 1.5, value.numel(), device=value.device, dtype=value.dtype).reshape(value.shape)
    gradients = torch.autograd.grad(value, sources, weights, retain_graph=True, allow_unused=True)
    return any(gradient is not None and bool(gradient.any()) for gradient in gradients)


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows what tensors see of the picture through the aten operations that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sights: Any = WeakIdKeyDictionary()
        """Tensor -> Sight, or None where it is not known. A tensor made on the way from nothing is not in it."""
        self.count = 0
        self.stepped = False
        self._overwritten: set[int] = set()

    def begin(self) -> None:
        """Forget what is told of a single node."""
        self.count = 0
        self.stepped = False

    def find(self, tensor: Tensor) -> Sight | None:
        """Return what a tensor sees; None where it is not known."""
        if self._overwritten and tensor.untyped_storage()._cdata in self._overwritten:
            return None
        sight: Sight | None = self.sights.get(tensor, _MISSING)
        return constant(tensor.shape) if sight is _MISSING else sight

    def _found(self, tensor: Tensor) -> Sight:
        """Return what a tensor sees.

        Raises:
            LookupError: it is not known.
        """
        sight = self.find(tensor)
        if sight is None:
            raise LookupError("it is not known what the tensor sees")
        return sight

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run an operation and follow it."""
        result = func(*args, **(kwargs or {}))
        self._follow(func, args, kwargs or {}, result)
        return result

    def _follow(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        name = func._schema.name.removeprefix("aten::")
        results = [value for value in tree_leaves(result) if isinstance(value, Tensor)]
        sources = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        self.stepped = self.stepped or name.rstrip("_") in STEPS
        known = [source for source in sources if source in self.sights or self._overwritten]
        if not results or not known:
            return
        call = Call(_bound(func, args, kwargs), results, self._found)
        self._count_products(name, call)
        sights = self._sights(func, name, call, known)
        for value, sight in zip(results, sights, strict=True):
            self._keep(value, sight, overwritten=func._schema.is_mutable)

    def _count_products(self, name: str, call: Call) -> None:
        if name in COUNTS:
            factor, count = COUNTS[name]
            self.count += count(call) if call[factor] in self.sights else 0

    def _sights(self, func: Any, name: str, call: Call, known: Sequence[Tensor]) -> Iterator[Sight | None]:
        rule = RULES.get(name) or (ELEMENTWISE if torch.Tag.pointwise in func.tags else None)
        found = [self.find(source) for source in known]
        if all(sight is not None and not sight.reaches for sight in found):
            return iter([constant(value.shape) for value in call.results])
        if rule is None or any(sight is None for sight in found):
            return iter([None] * len(call.results))
        try:
            told = rule(call)
        except (ArithmeticError, LookupError, TypeError, ValueError):
            # An unusual call of an operator costs a row its receptive field, never the model.
            return iter([None] * len(call.results))
        sights = [told] * len(call.results) if isinstance(told, Sight) else list(told)
        pairs = zip(sights, call.results, strict=True)
        return iter([sight if sight.shape == tuple(value.shape) else None for sight, value in pairs])

    def _keep(self, value: Tensor, sight: Sight | None, *, overwritten: bool) -> None:
        self.sights[value] = sight
        if overwritten and value._is_view():
            # What shares the memory sees something else now.
            self._overwritten.add(value.untyped_storage()._cdata)


_MISSING: Any = object()


def _bound(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call by the names of the operator's schema."""
    bound: dict[str, Any] = {}
    for position, argument in enumerate(func._schema.arguments):
        if position < len(args):
            bound[argument.name] = args[position]
        else:
            bound[argument.name] = kwargs.get(
                argument.name, argument.default_value if argument.has_default_value() else None
            )
    return bound
