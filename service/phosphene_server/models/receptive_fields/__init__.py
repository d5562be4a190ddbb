"""What every activation of a network sees of the picture.

- `reach`: the intervals that positions along one direction see, and how windows, resizing and unions change them.
- `layout`: how axes are made of rows and columns, through reshapes and permutations.
- `sight`: both together, for one tensor.
- `rules`: what each aten operator does to it.
- `description`: what is told about it.
"""

from phosphene_server.models.receptive_fields.description import describe
from phosphene_server.models.receptive_fields.rules import ELEMENTWISE, RULES, Call, Rule
from phosphene_server.models.receptive_fields.sight import (
    Sight,
    constant,
    picture_channels_first,
    picture_channels_last,
)

__all__ = [
    "ELEMENTWISE",
    "RULES",
    "Call",
    "Rule",
    "Sight",
    "constant",
    "describe",
    "picture_channels_first",
    "picture_channels_last",
]
