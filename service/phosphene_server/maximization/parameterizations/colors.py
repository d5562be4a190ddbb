"""Colours whose coordinates are independent in natural pictures.

Red, green and blue rise and fall together in natural pictures, so a step along one of them alone makes garish colours.
Here a picture has three coordinates that are uncorrelated and of equal variance there: brightness, and two far smaller
ones from orange to blue and from green to purple. A step of the same length along each then changes a picture as
natural pictures differ.
"""

import torch
from torch import Tensor

CORRELATION_ROOT = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""A square root of the colour correlation of ImageNet; a row for each of red, green and blue.

Source: Lucid, `optvis/param/color.py`; Olah et al. 2017, "Preconditioning and parameterization".
"""


def correlation_root(*, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the root, (RGB, coordinate), over its longest column, so that the brightness keeps its scale."""
    root = torch.tensor(CORRELATION_ROOT, dtype=torch.float64)
    normalized: Tensor = root / torch.linalg.vector_norm(root, dim=0).max()
    return normalized.to(device, dtype)


def correlate(coordinates: Tensor, root: Tensor) -> Tensor:
    """Turn independent coordinates into red, green and blue, both (batch, 3, height, width), unbounded around 0."""
    # Each picture by itself: an einsum would move the coordinates to the front of all pictures, and back.
    mixed = torch.bmm(root.expand(len(coordinates), -1, -1), coordinates.flatten(2))
    return mixed.reshape(coordinates.shape)
