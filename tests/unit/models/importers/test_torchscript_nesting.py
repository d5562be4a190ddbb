import zipfile
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from phosphene_server.errors import DamagedModel
from phosphene_server.models.importers.torchscript import import_torchscript
from phosphene_server.models.importers.torchscript.nesting import MAXIMUM_DEPTH, is_too_deep

DEEP = 5_000

CODE = {
    "brackets": "x = " + "(" * DEEP + "y" + ")" * DEEP,
    "calls": "x = " + "torch.neg(" * DEEP + "y" + ")" * DEEP,
    "lists": "x = " + "[" * DEEP + "]" * DEEP,
    "types": "def f(x: " + "Optional[" * DEEP + "Tensor" + "]" * DEEP + "):",
    "sum": "x = y" + " + y" * DEEP,
    "sum over lines": "x = (y" + "\n + y" * DEEP + ")",
    "continued lines": "x = y" + " \\\n + y" * DEEP,
    "signs": "x = " + "-" * DEEP + "1",
    "not": "x = " + "not " * DEEP + "y",
    "attributes": "x = y" + ".a" * DEEP,
    "subscripts": "x = y" + "[0]" * DEEP,
    "conditions": "x = y" + " if c else y" * DEEP,
    "blocks": "\n".join(" " * depth + "if c:" for depth in range(DEEP // 5)),
    "behind a quote in a comment": "# it's \"\nx = " + "(" * DEEP,
    "behind triple quotes": 'x = """ " """ + ' + "(" * DEEP + ' """ " """',
}


@pytest.mark.parametrize("what", CODE)
def test_code_that_is_nested_too_deep_is_found(what: str) -> None:
    assert is_too_deep(CODE[what])


def test_long_lists_and_long_programs_are_not_deep() -> None:
    entries = ", ".join(f"torch.size(x, {index})" for index in range(DEEP))
    assert not is_too_deep(f"x = [{entries}]\n" + "x = torch.neg(x)\n" * DEEP)
    assert not is_too_deep('x = "' + "(" * (MAXIMUM_DEPTH + 1) + '"\n')


def test_the_code_of_a_large_network_is_not_too_deep(tmp_path: Path) -> None:
    network = torch.jit.script(torchvision.models.swin_t())
    network.save(str(tmp_path / "model.pt"))
    with zipfile.ZipFile(tmp_path / "model.pt") as archive:
        code = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")]
    assert not any(is_too_deep(text) for text in code)


def test_a_file_with_such_code_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.jit.script(nn.ReLU()).save(str(path))
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in entries.items():
            deep = b"torch.neg(" * DEEP + b"input" + b")" * DEEP
            archive.writestr(entry, content.replace(b"torch.relu(input)", deep) if entry.endswith(".py") else content)
    with pytest.raises(DamagedModel, match="nested deeper"):
        import_torchscript(path, name="deep")
