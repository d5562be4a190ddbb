"""Interpolation. A scale that the author wrote stays a scale, so that another picture size is scaled likewise."""

from typing import Any

import torch.nn.functional as F

from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator, direct


def _resize(mode: str, *, corners: bool, antialias: bool = False) -> Operator:
    """Make a row; `corners`: whether the operator knows `align_corners`."""

    def lower(emit: Emitter, a: Arguments) -> Any:
        options: dict[str, Any] = {"mode": mode}
        if corners:
            options["align_corners"] = a.get("align_corners", False)
        if antialias:
            options["antialias"] = True
        scales = _scales(a)
        if scales is not None:
            return emit.call(F.interpolate, a["self"] if "self" in a else a["input"], scale_factor=scales, **options)
        return emit.call(F.interpolate, a["self"] if "self" in a else a["input"], size=a["output_size"], **options)

    return Operator("resizing", lower)


def _scales(a: Arguments) -> list[float] | None:
    """Return the scale per axis from either overload; None where only a size was asked for."""
    if a.get("scale_factors"):
        return list(a["scale_factors"])
    names = ("scales_d", "scales_h", "scales_w", "scales")
    found = [a[name] for name in names if a.get(name) is not None]
    return found if found and len(found) == len(a["output_size"]) else None


def _sample(emit: Emitter, a: Arguments) -> Any:
    modes, paddings = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")
    mode, padding = modes[a["interpolation_mode"]], paddings[a["padding_mode"]]
    return emit.call(F.grid_sample, a["input"], a["grid"], mode, padding, a["align_corners"])


OPERATORS: dict[str, Operator] = {
    **{f"upsample_nearest{axes}d": _resize("nearest", corners=False) for axes in (1, 2, 3)},
    **{f"_upsample_nearest_exact{axes}d": _resize("nearest-exact", corners=False) for axes in (1, 2, 3)},
    "grid_sampler": Operator("resizing", _sample),
    "grid_sampler_2d": Operator("resizing", _sample),
    "grid_sampler_3d": Operator("resizing", _sample),
    "affine_grid_generator": direct("resizing", F.affine_grid, "theta", "size", "align_corners"),
    "upsample_linear1d": _resize("linear", corners=True),
    "upsample_bilinear2d": _resize("bilinear", corners=True),
    "upsample_trilinear3d": _resize("trilinear", corners=True),
    "upsample_bicubic2d": _resize("bicubic", corners=True),
    "_upsample_bilinear2d_aa": _resize("bilinear", corners=True, antialias=True),
    "_upsample_bicubic2d_aa": _resize("bicubic", corners=True, antialias=True),
}
