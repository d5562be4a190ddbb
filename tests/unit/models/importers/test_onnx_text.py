"""Counts of sequences of tokens, against ONNX Runtime; their weights, against the definition.

ONNX Runtime before 1.30 and ONNX's own evaluator look weights up by the place of the output, not by that in the pool.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from phosphene_server.errors import UnsupportedModel
from tests.unit.models.importers.onnx_texts import imported, run_original, write

TEXT = """(int64[N, 12] x) => (float[N, 7] y) {{ y = TfIdfVectorizer <mode = "{mode}", min_gram_length = 1,
max_gram_length = {longest}, max_skip_count = {skips}, ngram_counts = [0, 3], ngram_indexes = [0, 2, 1, 3, 4, 5, 6],
pool_int64s = [2, 3, 5, 5, 6, 7, 8, 6, 7, 3, 3], weights = [1.0, 2.0, 0.5, 3.0, 1.5, 0.25, 2.5]> (x) }}"""

WEIGHTS = np.float32([1.0, 0.5, 2.0, 3.0, 1.5, 0.25, 2.5])
"""In the order of the outputs."""


@pytest.mark.parametrize("mode", ["TF", "IDF", "TFIDF"])
@pytest.mark.parametrize(("longest", "skips"), [(1, 0), (2, 0), (2, 3)])
def test_sequences_of_tokens_are_counted(tmp_path: Path, mode: str, longest: int, skips: int) -> None:
    tokens = np.array([[1, 1, 3, 3, 3, 7, 8, 6, 7, 5, 6, 8], [2, 3, 3, 5, 6, 6, 7, 7, 8, 8, 6, 7]])
    (counts,) = run_original(write(tmp_path, TEXT.format(mode="TF", longest=longest, skips=skips)), tokens)
    expected = {"TF": counts, "IDF": (counts > 0) * WEIGHTS, "TFIDF": counts * WEIGHTS}
    (ours,) = imported(tmp_path, TEXT.format(mode=mode, longest=longest, skips=skips))(torch.from_numpy(tokens))
    np.testing.assert_array_equal(ours.numpy(), expected[mode])


def test_tokens_that_are_words_are_refused(tmp_path: Path) -> None:
    text = TEXT.format(mode="TF", longest=1, skips=0).replace(
        "pool_int64s = [2, 3, 5, 5, 6, 7, 8, 6, 7, 3, 3]", 'pool_strings = ["a"]'
    )
    with pytest.raises(UnsupportedModel, match="TfIdfVectorizer with strings"):
        imported(tmp_path, text)
