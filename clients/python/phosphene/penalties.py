"""Numbers that are subtracted from the objective, so that the picture stays calm. The weight is 0 or more."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TotalVariation:
    """The mean absolute difference between neighbouring pixels."""

    weight: float


@dataclass(frozen=True)
class L1:
    """The mean absolute distance of the pixels from middle gray."""

    weight: float


@dataclass(frozen=True)
class L2:
    """The mean squared distance of the pixels from middle gray."""

    weight: float


Penalty = TotalVariation | L1 | L2


def total_variation(*, weight: float) -> TotalVariation:
    """The mean absolute difference between pixels that are neighbours along the height or the width."""
    return TotalVariation(weight)


def l1(*, weight: float) -> L1:
    """The mean absolute distance of the pixels from middle gray."""
    return L1(weight)


def l2(*, weight: float) -> L2:
    """The mean squared distance of the pixels from middle gray."""
    return L2(weight)
