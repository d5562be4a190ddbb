"""What is maximized: one number for each picture. Reductions over space are means.

Objectives combine as algebra: `0.5 * channel("conv3", 5) - class_logit("ring")` is an objective too, and so is
`sum([...])` of a list of them.
"""

from dataclasses import dataclass
from typing import ClassVar


class Objective:
    """Base of all objectives; the operators return new ones."""

    # numpy's numbers would otherwise take `number * objective` for an array operation of their own.
    __array_ufunc__: ClassVar[None] = None

    @property
    def terms(self) -> tuple[tuple[float, "Objective"], ...]:
        """The weight and the objective of each term of the sum that this is."""
        return ((1.0, self),)

    def __mul__(self, factor: float) -> "WeightedSum":
        return WeightedSum(tuple((float(factor) * weight, objective) for weight, objective in self.terms))

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "WeightedSum":
        return self * (1.0 / float(divisor))

    def __neg__(self) -> "WeightedSum":
        return self * -1.0

    def __pos__(self) -> "Objective":
        return self

    def __add__(self, other: "Objective") -> "WeightedSum":
        if not isinstance(other, Objective):
            return NotImplemented
        return WeightedSum(self.terms + other.terms)

    def __radd__(self, other: int) -> "Objective":
        # `sum` starts with 0; any other number has no meaning here.
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __sub__(self, other: "Objective") -> "WeightedSum":
        if not isinstance(other, Objective):
            return NotImplemented
        return self + -other


@dataclass(frozen=True)
class Channel(Objective):
    """The mean of a channel over all its positions."""

    layer: str
    channel: int


@dataclass(frozen=True)
class Neuron(Objective):
    """The activation at one position of a channel; row and column None: the centre, size // 2."""

    layer: str
    channel: int
    row: int | None = None
    column: int | None = None


@dataclass(frozen=True)
class Layer(Objective):
    """The mean of the squares of all activations of a layer."""

    layer: str


@dataclass(frozen=True)
class ClassLogit(Objective):
    """The logit of a class, by index or by label."""

    target: int | str


@dataclass(frozen=True)
class WeightedSum(Objective):
    """A weighted sum: pairs of weight and objective."""

    addends: tuple[tuple[float, Objective], ...]

    @property
    def terms(self) -> tuple[tuple[float, Objective], ...]:
        """The weight and the objective of each term."""
        return self.addends


def channel(layer: str, channel: int) -> Channel:
    """The mean of a channel (0-based) over all its positions: what that channel looks for, anywhere."""
    return Channel(layer, channel)


def neuron(layer: str, channel: int, row: int | None = None, column: int | None = None) -> Neuron:
    """The activation of one neuron.

    Args:
        layer: The name of the layer.
        channel: The channel, 0-based; of a layer without space, the feature.
        row: The row, 0-based from the top. None: the centre, height // 2.
        column: The column, 0-based from the left. None: the centre, width // 2.
    """
    return Neuron(layer, channel, row, column)


def layer(layer: str) -> Layer:
    """The mean of the squares of a whole layer: whatever excites it, as in DeepDream (Mordvintsev et al. 2015)."""
    return Layer(layer)


def class_logit(target: int | str) -> ClassLogit:
    """The logit of a class, the score before any softmax.

    Args:
        target: The index of the class, 0-based, or its label; capitals do not matter.
    """
    return ClassLogit(target)
