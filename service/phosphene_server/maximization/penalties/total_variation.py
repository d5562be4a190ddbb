"""Total variation."""

from torch import Tensor

from phosphene_server.maximization.penalties.penalty import Penalty


def total_variation() -> Penalty:
    """Return the mean absolute difference between vertical neighbours, plus that between horizontal ones.

    References:
        Mahendran and Vedaldi, "Understanding deep image representations by inverting them",
        https://arxiv.org/abs/1412.0035, 2014. Ours is the anisotropic form, and a mean, so that its weight means the
        same at every size.
    """

    def evaluate(pictures: Tensor) -> Tensor:
        vertical = pictures.diff(dim=2).abs().mean(dim=(1, 2, 3))
        horizontal = pictures.diff(dim=3).abs().mean(dim=(1, 2, 3))
        return vertical + horizontal

    return Penalty("total_variation", evaluate)
