"""The mean squared distance from middle gray."""

from torch import Tensor

from phosphene_server.maximization.penalties.penalty import MIDDLE_GRAY, Penalty


def l2() -> Penalty:
    """Return the mean squared distance of the pixels from middle gray."""

    def evaluate(pictures: Tensor) -> Tensor:
        return (pictures - MIDDLE_GRAY).square().mean(dim=(1, 2, 3))

    return Penalty("l2", evaluate)
