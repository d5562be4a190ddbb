"""The kernels that have names.

All are written for cross-correlation: the number at the right weighs the pixel at the right. Except in `box`, they are
small whole numbers, over a power of two in `gaussian`, so that their products with float32 pixels are exact in float64;
that is why those that sum to zero answer exactly zero to a constant picture.
"""

import numpy as np
from numpy.typing import NDArray

from phosphene_server.values.kernel import KernelName

_BINOMIAL = np.array([1.0, 4.0, 6.0, 4.0, 1.0])

NAMED_KERNELS: dict[KernelName, NDArray[np.float64]] = {
    # The five-point stencil of the second derivative in x and y (Rosenfeld and Kak, Digital Picture Processing, 1976).
    "laplacian": np.array([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]),
    # Sobel and Feldman, A 3x3 isotropic gradient operator, 1968 (printed in Duda and Hart, 1973).
    "sobel_x": np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]),
    "sobel_y": np.array([[-1.0, -2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0]]),
    # Prewitt, Object enhancement and extraction, 1970.
    "prewitt_x": np.array([[-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]]),
    "prewitt_y": np.array([[-1.0, -1.0, -1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]),
    # Scharr, Optimale Operatoren in der digitalen Bildverarbeitung, 2000.
    "scharr_x": np.array([[-3.0, 0.0, 3.0], [-10.0, 0.0, 10.0], [-3.0, 0.0, 3.0]]),
    "scharr_y": np.array([[-3.0, -10.0, -3.0], [0.0, 0.0, 0.0], [3.0, 10.0, 3.0]]),
    # The binomial approximation (Burt and Adelson, The Laplacian pyramid as a compact image code, 1983).
    "gaussian": np.outer(_BINOMIAL, _BINOMIAL) / 256,
    "box": np.full((3, 3), 1 / 9),
    # The picture minus its Laplacian.
    "sharpen": np.array([[0.0, -1.0, 0.0], [-1.0, 5.0, -1.0], [0.0, -1.0, 0.0]]),
    # The directional derivative along the falling diagonal, added to the picture.
    "emboss": np.array([[-2.0, -1.0, 0.0], [-1.0, 1.0, 1.0], [0.0, 1.0, 2.0]]),
    "identity": np.array([[1.0]]),
}
