"""The mean absolute distance from middle gray."""

from torch import Tensor

from phosphene_server.maximization.penalties.penalty import MIDDLE_GRAY, Penalty


def l1() -> Penalty:
    """Return the mean absolute distance of the pixels from middle gray."""

    def evaluate(pictures: Tensor) -> Tensor:
        return (pictures - MIDDLE_GRAY).abs().mean(dim=(1, 2, 3))

    return Penalty("l1", evaluate)
