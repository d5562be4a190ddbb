"""Suppression of boxes, against ONNX Runtime."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.models.importers.onnx_texts import imported, run_original

RANDOM = np.random.default_rng(13)
TEXT = """(float[2, 40, 4] boxes, float[2, 3, 40] scores) => (int64[K, 3] y)
<int64 limit = {LIMIT}, float overlap = {0.3}, float threshold = {0.2}>
{ y = NonMaxSuppression <center_point_box = CENTRED> (boxes, scores, limit, overlap, threshold) }"""


@pytest.mark.parametrize("centred", [0, 1])
@pytest.mark.parametrize("limit", [4, 100])
def test_the_best_boxes_of_each_class_remain(tmp_path: Path, limit: int, centred: int) -> None:
    boxes = RANDOM.uniform(0, 1, (2, 40, 4)).astype(np.float32)
    scores = RANDOM.uniform(0, 1, (2, 3, 40)).astype(np.float32)
    text = TEXT.replace("LIMIT", str(limit)).replace("CENTRED", str(centred))
    (ours,) = imported(tmp_path, text)(torch.from_numpy(boxes), torch.from_numpy(scores))
    (theirs,) = run_original(tmp_path / "model.onnx", boxes, scores)
    assert ours.tolist() == theirs.tolist()


def test_no_limit_means_no_boxes(tmp_path: Path) -> None:
    text = "(float[1, 4, 4] b, float[1, 1, 4] s) => (int64[K, 3] y) { y = NonMaxSuppression (b, s) }"
    assert imported(tmp_path, text)(torch.rand(1, 4, 4), torch.rand(1, 1, 4))[0].shape == (0, 3)
