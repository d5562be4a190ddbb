"""From pictures to the input that a model was trained on.

A wrong value range or channel order raises no error anywhere; it only makes every picture quietly worse. So the service
has this one function for it, and all that it does stands in the model's `Preprocessing`.
"""

import functools
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from phosphene_server.values.model import PictureLayout, Preprocessing

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in gray, ITU-R Recommendation BT.601."""

CHANNEL_AXES: Mapping[PictureLayout, int] = {"nchw": 1, "nhwc": 3}
"""Where each layout has the channels."""

SPATIAL_AXES: Mapping[PictureLayout, tuple[int, int]] = {"nchw": (2, 3), "nhwc": (1, 2)}
"""Where each layout has the height and the width."""


def preprocess(pictures: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Turn pictures into the input of a model, differentiably.

    Args:
        pictures: (batch, 3, height, width), RGB in [0, 1].
        preprocessing: What the model expects.

    Returns:
        (batch, 3 or 1, height, width), or (batch, height, width, 3 or 1) as the layout says, on the same device and of
        the same type: resized where the model takes one size alone (bilinear, antialiased), in the model's channel
        order, stretched to its range, less mean, over std.
    """
    resized = _resized(pictures, preprocessing)
    ordered = _ordered(resized, preprocessing)
    gain, offset = _gain_and_offset(preprocessing, pictures.dtype, pictures.device)
    scaled = ordered * gain + offset
    return scaled.permute(0, 2, 3, 1) if preprocessing.layout == "nhwc" else scaled


def _resized(pictures: Tensor, preprocessing: Preprocessing) -> Tensor:
    size = (preprocessing.size.height, preprocessing.size.width)
    if not preprocessing.fixed_size or tuple(pictures.shape[2:]) == size:
        return pictures
    return F.interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=True)


def _ordered(pictures: Tensor, preprocessing: Preprocessing) -> Tensor:
    if preprocessing.channel_order == "bgr":
        return pictures.flip(1)
    if preprocessing.channel_order == "gray":
        weights = torch.tensor(LUMA, dtype=pictures.dtype).to(pictures.device).reshape(1, 3, 1, 1)
        return (pictures * weights).sum(dim=1, keepdim=True)
    return pictures


@functools.lru_cache(maxsize=64)
def _gain_and_offset(preprocessing: Preprocessing, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Fold range, mean and std into one product and one sum; kept on the device, for this runs at every step."""
    mean = torch.tensor(preprocessing.mean, dtype=torch.float64).reshape(1, -1, 1, 1)
    std = torch.tensor(preprocessing.std, dtype=torch.float64).reshape(1, -1, 1, 1)
    gain = (preprocessing.high - preprocessing.low) / std
    offset = (preprocessing.low - mean) / std
    return gain.to(device, dtype), offset.to(device, dtype)
