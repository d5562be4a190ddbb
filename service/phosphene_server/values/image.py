"""Pictures as they travel: compressed, or as arrays."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray
from pydantic import ConfigDict

ARRAYS = ConfigDict(arbitrary_types_allowed=True)
"""The pydantic configuration of a dataclass that holds numpy arrays."""

ImageFormat = Literal["png", "jpeg", "webp"]


@dataclass(frozen=True)
class ImageSize:
    """The height and width of a picture, in pixels."""

    height: Annotated[int, Ge(8), Le(4096)]
    width: Annotated[int, Ge(8), Le(4096)]


@dataclass(frozen=True)
class ImageEncoding:
    """How the service compresses pictures. `format` None: what suits the use (PNG; WebP for frames)."""

    format: ImageFormat | None = None
    quality: Annotated[int, Ge(1), Le(100)] = 90


@dataclass(frozen=True)
class EncodedImage:
    """A compressed picture: the bytes of a file and its media type, empty in a request that leaves it to the bytes."""

    data: bytes
    media_type: Literal["", "image/png", "image/jpeg", "image/webp"] = ""
    kind: Literal["encoded"] = "encoded"


@dataclass(frozen=True)
class TensorImage:
    """A picture as an array: (height, width), (channel, height, width), or uint8 (height, width, 3)."""

    __pydantic_config__: ClassVar[ConfigDict] = ARRAYS

    tensor: NDArray[np.generic]
    kind: Literal["tensor"] = "tensor"


Image = EncodedImage | TensorImage
