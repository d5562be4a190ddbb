import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from phosphene_server.errors import DamagedModel
from phosphene_server.models.importers.torchscript.traced_inputs import TracedTensor, read_traced_inputs


class Evil:
    """Pickles as a call of a function that leaves a proof."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return Path.touch, (self.proof,)


class Adding(nn.Module):
    def forward(self, x: torch.Tensor, pair: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return x + pair[0] + pair[1]


def traced_pickle(tmp_path: Path) -> bytes:
    torch.jit.trace(Adding(), (torch.ones(2, 3), (torch.ones(3), torch.ones(1).half()))).save(
        str(tmp_path / "model.pt")
    )
    reader = torch._C.PyTorchFileReader(str(tmp_path / "model.pt"))
    content: bytes = reader.get_record("traced_inputs.pkl")
    return content


def test_shapes_and_types_are_read(tmp_path: Path) -> None:
    x, pair = (
        TracedTensor((2, 3), torch.float32),
        (TracedTensor((3,), torch.float32), TracedTensor((1,), torch.float16)),
    )
    assert read_traced_inputs(traced_pickle(tmp_path), name="m") == [x, pair]


def test_a_call_in_the_pickle_is_not_made(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    with pytest.raises(DamagedModel, match="example inputs"):
        read_traced_inputs(pickle.dumps({"forward": [Evil(proof)]}), name="m")
    assert not proof.exists()


@pytest.mark.parametrize("content", [b"garbage", b"\x80\x02(", pickle.dumps(complex)])
def test_what_is_no_such_pickle_is_refused(content: bytes) -> None:
    with pytest.raises(DamagedModel, match="example inputs"):
        read_traced_inputs(content, name="m")


def test_inputs_of_another_method_tell_nothing() -> None:
    assert read_traced_inputs(pickle.dumps({"other": []}), name="m") is None
