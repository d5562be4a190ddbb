"""Random changes of size."""

import numpy as np
from numpy.typing import NDArray

from phosphene_server.maximization.transforms.transform import Geometric
from phosphene_server.values.image import ImageSize


def scale(*, minimum: float, maximum: float) -> Geometric:
    """Return an enlargement about the centre; the logarithm of the factor is drawn evenly between those of the two.

    Args:
        minimum: The smallest factor, above 0; below 1 the picture becomes smaller and its border is seen.
        maximum: The largest factor, not below the smallest.
    """

    def sampling(draws: NDArray[np.float64], _: ImageSize) -> NDArray[np.float64]:
        factors = minimum * (maximum / minimum) ** draws[..., 0]
        matrices = np.broadcast_to(np.eye(3), (*draws.shape[:-1], 3, 3)).copy()
        matrices[..., 0, 0] = matrices[..., 1, 1] = 1 / factors
        return matrices

    return Geometric(1, sampling)
