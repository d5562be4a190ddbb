"""Operators of object detectors."""

import torch
from torch import Tensor

from phosphene_server.models.importers.onnx.operation import Operation
from phosphene_server.models.importers.onnx.values import Value


def non_maximum_suppression(operation: Operation) -> Value:
    """NonMaxSuppression: indices of boxes; gradients do not pass through them."""
    limit = 0 if operation.input(2) is None else int(operation.known(2).item())
    overlap = 0.0 if operation.input(3) is None else float(operation.known(3).item())
    threshold = None if operation.input(4) is None else float(operation.known(4).item())
    centred = bool(operation.attribute("center_point_box", 0))
    return operation.call(select_boxes, operation.data(0), operation.data(1), limit, overlap, threshold, centred)


def select_boxes(
    boxes: Tensor, scores: Tensor, limit: int, overlap: float, threshold: float | None, centred: bool
) -> Tensor:
    """Return the boxes that no better one covers, as (selected, 3): batch, class and box, the best of each class first.

    Args:
        boxes: (batch, box, 4).
        scores: (batch, class, box).
        limit: Boxes of each class and picture at the most.
        overlap: Intersection over union above which the worse of two boxes goes.
        threshold: Score that a box must exceed, None for any.
        centred: Whether a box is centre column, centre row, width, height; else two opposite corners.
    """
    # Not at the top: torchvision takes two seconds to import, at every start of a worker, and few networks need it.
    from torchvision.ops import nms  # noqa: PLC0415

    corners = _corners(boxes.detach().float(), centred=centred)
    rows = []
    for picture, of_picture in enumerate(scores.detach().float()):
        for kind, of_class in enumerate(of_picture):
            candidates = torch.arange(len(of_class), device=boxes.device)
            if threshold is not None:
                candidates = candidates[of_class > threshold]
            kept = candidates[nms(corners[picture, candidates], of_class[candidates], overlap)[:limit]]
            rows.append(torch.stack([torch.full_like(kept, picture), torch.full_like(kept, kind), kept], dim=1))
    return torch.cat(rows) if rows else torch.zeros(0, 3, dtype=torch.int64, device=boxes.device)


def _corners(boxes: Tensor, *, centred: bool) -> Tensor:
    if centred:
        centre, half = boxes[..., :2], boxes[..., 2:] / 2
        return torch.cat([centre - half, centre + half], dim=-1)
    pairs = boxes.reshape(*boxes.shape[:-1], 2, 2)
    return torch.cat([pairs.amin(dim=-2), pairs.amax(dim=-2)], dim=-1)
