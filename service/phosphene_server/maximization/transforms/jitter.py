"""Random shifts."""

import numpy as np
from numpy.typing import NDArray

from phosphene_server.maximization.transforms.transform import Geometric
from phosphene_server.values.image import ImageSize


def jitter(*, pixels: float | None = None, fraction: float | None = None) -> Geometric:
    """Return a shift along both axes, drawn evenly from [-limit, limit].

    Args:
        pixels: The limit in pixels, or
        fraction: as a share of the height for rows and of the width for columns. Exactly one of them.
    """

    def sampling(draws: NDArray[np.float64], size: ImageSize) -> NDArray[np.float64]:
        limits = np.array([size.width, size.height]) * fraction if fraction is not None else np.full(2, pixels)
        matrices = np.broadcast_to(np.eye(3), (*draws.shape[:-1], 3, 3)).copy()
        matrices[..., :2, 2] = -(2 * draws - 1) * limits  # the picture moves by +shift, so the result looks at -shift
        return matrices

    return Geometric(2, sampling)
