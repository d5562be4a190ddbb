from pathlib import Path

import pytest
import torch
from torch import nn

from phosphene_server.errors import DamagedModel, UnsupportedModel
from phosphene_server.models.importers.torchscript import import_torchscript
from tests.hostile.program_files import Writing, rewrite


def test_code_that_would_run_at_loading_is_refused_and_does_not_run(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    path = tmp_path / "model.pt"
    torch.jit.script(Writing(str(proof))).save(str(path))
    proof.unlink(missing_ok=True)
    with pytest.raises(UnsupportedModel, match="__setstate__"):
        import_torchscript(path, name="hostile")
    assert not proof.exists()


def traced(path: Path) -> Path:
    torch.jit.trace(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.randn(1, 3, 8, 8)).save(str(path))
    return path


@pytest.mark.parametrize(
    ("call", "operator"),
    [
        (b"torch.from_file('/etc/passwd', None, 10, dtype=None, layout=None, device=None)", "aten::from_file"),
        (b"ops.quantized.relu6(argument_1, False)", "quantized::relu6"),
        (b"ops.inductor.anything(argument_1)", "inductor::anything"),
        (b"ops.prim.ConstantMKLDNNTensor()", "prim::ConstantMKLDNNTensor"),
    ],
)
def test_operators_that_reach_outside_are_refused_before_loading(tmp_path: Path, call: bytes, operator: str) -> None:
    def change(name: str, content: bytes) -> bytes:
        return content.replace(b"torch.relu(argument_1)", call) if name.endswith(".py") else content

    path = rewrite(traced(tmp_path / "model.pt"), change)
    with pytest.raises(UnsupportedModel) as caught:
        import_torchscript(path, name="hostile")
    assert [name for name, _ in caught.value.operators] == [operator]


def test_a_pickle_that_names_python_is_refused(tmp_path: Path) -> None:
    def change(name: str, content: bytes) -> bytes:
        return b"\x80\x02cos\nsystem\nq\x00." if name.endswith("/data.pkl") else content

    with pytest.raises(DamagedModel, match="os system"):
        import_torchscript(rewrite(traced(tmp_path / "model.pt"), change), name="hostile")


def test_a_class_registered_in_native_code_is_refused(tmp_path: Path) -> None:
    def change(name: str, content: bytes) -> bytes:
        evil = b"\x80\x02c__torch__.torch.classes.quantized\nConv2dPackedParamsBase\nq\x00."
        return evil if name.endswith("/data.pkl") else content

    with pytest.raises(DamagedModel, match="Conv2dPackedParamsBase"):
        import_torchscript(rewrite(traced(tmp_path / "model.pt"), change), name="hostile")


def test_weights_alone_are_told_apart_from_a_program(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "model.pt")
    with pytest.raises(DamagedModel, match="weights alone"):
        import_torchscript(tmp_path / "model.pt", name="weights")


@pytest.mark.parametrize("length", [0, 10, 1000])
def test_a_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    path = traced(tmp_path / "model.pt")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedModel, match="cannot be read"):
        import_torchscript(path, name="short")


def test_damaged_code_is_refused_with_a_sentence(tmp_path: Path) -> None:
    def change(name: str, content: bytes) -> bytes:
        return b"class Sequential(Module:\n" if name.endswith(".py") else content

    with pytest.raises(DamagedModel, match="its TorchScript cannot be read"):
        import_torchscript(rewrite(traced(tmp_path / "model.pt"), change), name="damaged")


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path: Path) -> None:
    network = nn.Linear(2, 2)
    network.weight = nn.Parameter(torch.zeros(1, 1).expand(10_000, 10_000))
    torch.jit.script(network).save(str(tmp_path / "model.pt"))
    with pytest.raises(UnsupportedModel, match="larger than what the file stores"):
        import_torchscript(tmp_path / "model.pt", name="bomb")
