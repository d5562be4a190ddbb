"""Random rotations."""

import numpy as np
from numpy.typing import NDArray

from phosphene_server.maximization.transforms.transform import Geometric
from phosphene_server.values.image import ImageSize


def rotate(*, degrees: float) -> Geometric:
    """Return a rotation about the centre by an angle drawn evenly from [-degrees, degrees]; positive: anticlockwise."""

    def sampling(draws: NDArray[np.float64], _: ImageSize) -> NDArray[np.float64]:
        angles = np.deg2rad((2 * draws[..., 0] - 1) * degrees)
        matrices = np.broadcast_to(np.eye(3), (*draws.shape[:-1], 3, 3)).copy()
        # Rows count downwards, so this matrix turns clockwise as seen: the inverse of what the picture does.
        matrices[..., 0, 0] = matrices[..., 1, 1] = np.cos(angles)
        matrices[..., 0, 1] = -np.sin(angles)
        matrices[..., 1, 0] = np.sin(angles)
        return matrices

    return Geometric(1, sampling)
