"""What a penalty is."""

from collections.abc import Callable

from torch import Tensor

Penalty = Callable[[Tensor], Tensor]
"""Pictures (batch, 3, height, width), RGB in [0, 1], to one number for each, (batch,), 0 or more."""

MIDDLE_GRAY = 0.5
