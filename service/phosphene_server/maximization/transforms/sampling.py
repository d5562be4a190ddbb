"""Drawing pictures through affine maps."""

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from phosphene_server.maximization.transforms.repeatable_sampling import Padding, RepeatableGridSample
from phosphene_server.maximization.transforms.transform import Border
from phosphene_server.values.image import ImageSize

GRAY = 0.5


def normalized_sampling(matrices: NDArray[np.float64], size: ImageSize, *, margin: int) -> NDArray[np.float64]:
    """Express maps between centred pixels in the coordinates of `affine_grid`, where a picture spans [-1, 1].

    Args:
        matrices: (..., 3, 3), from the result to the picture, in pixels from the centre.
        size: The size of the picture.
        margin: How much larger the result is, on each side, in pixels.

    Returns:
        (..., 2, 3).
    """
    picture = np.array([size.width, size.height, 2]) / 2
    result = np.array([size.width + 2 * margin, size.height + 2 * margin, 2]) / 2
    scaled: NDArray[np.float64] = matrices * result / picture[:, None]
    return scaled[..., :2, :]


def sample(pictures: Tensor, matrices: Tensor, *, margin: int, border: Border) -> Tensor:
    """Draw each picture through its own map, bilinearly and differentiably.

    Args:
        pictures: (batch, 3, height, width).
        matrices: (batch, 2, 3), as `normalized_sampling` gives them.
        margin: How much larger the result is, on each side, in pixels.
        border: What stands beyond the border: the picture mirrored at its edge, or middle gray.

    Returns:
        (batch, 3, height + 2 margin, width + 2 margin).
    """
    batch, channels, height, width = pictures.shape
    grid = F.affine_grid(matrices, [batch, channels, height + 2 * margin, width + 2 * margin], align_corners=False)
    if border == "reflect":
        return _drawn(pictures, grid, "reflection")
    return _drawn(pictures - GRAY, grid, "zeros") + GRAY


def _drawn(pictures: Tensor, grid: Tensor, padding: Padding) -> Tensor:
    if pictures.is_cuda:
        drawn: Tensor = RepeatableGridSample.apply(pictures, grid, padding)
        return drawn
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode=padding, align_corners=False)
