"""Hostile TorchScript and torch.export files."""

import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.hostile.corpus import PROOF, HostileModel

Change = Callable[[str, bytes], bytes]


class Network(nn.Module):
    """A small network that both formats hold."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.linear = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(torch.relu(self.convolution(x)).mean(dim=(2, 3)))


class Writing(nn.Module):
    """A module that does something when it is loaded: it keeps the proof in a file."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target
        self.weight = nn.Parameter(torch.ones(1))

    @torch.jit.export
    def __getstate__(self) -> tuple[str, Tensor, bool]:
        return self.target, self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, Tensor, bool]) -> None:
        self.target = state[0]
        self.weight = state[1]
        self.training = state[2]
        torch.save(state[1], state[0])

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Endless(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        count = 1
        while count > 0:
            count = count + 1 if count < 1000 else 1
        return x * count


class Long(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(1_000_000_000_000):
            x = x.sin()
        return x


class Waiting(nn.Module):
    """Goes on until a number that is computed from the picture is reached, which it never is."""

    def forward(self, x: Tensor) -> Tensor:
        while bool(x.abs().sum() >= 0):
            x = x.sin()
        return x


class WideList(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        numbers = [0] * 1_000_000_000_000
        return x * len(numbers)


class LongText(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        text = "a"
        for _ in range(60):
            text = text + text
        return x * len(text)


class TallPower(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        number = x.dim() + 5
        for _ in range(6):
            number = number * number * number * number * number
            number = number * number * number * number * number
            number = number * number * number * number * number
        return x * number


class GrowingList(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for _ in range(60):
            parts = parts + parts
        return x * len(parts)


class WideTensor(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.zeros(1_000_000, 1_000_000).sum()


class Doubling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(40):
            x = torch.cat([x, x], dim=2)
        return x


class Nested(nn.Module):
    """Calls that are doubled on every one of thirty levels."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.inner = Nested(depth - 1) if depth else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.inner(x))


def scripted(module: nn.Module) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.jit.script(module.eval()).save(str(path))

    return write


def traced(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Network().eval(), torch.zeros(1, 3, 8, 8)).save(str(path))


def exported(path: Path) -> None:
    torch.export.save(torch.export.export(Network().eval(), (torch.zeros(1, 3, 8, 8),)), path)


def rewrite(path: Path, change: Change) -> Path:
    """Write an archive again with some entries changed."""
    with zipfile.ZipFile(path) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            archive.writestr(name, change(name, content))
    return path


def changed(write: Callable[[Path], object], change: Change) -> Callable[[Path], object]:
    """Return what writes an archive, and then writes it again with its entries changed."""

    def write_changed(path: Path) -> None:
        write(path)
        rewrite(path, change)

    return write_changed


def with_entry(write: Callable[[Path], object], name: str, content: bytes = b"") -> Callable[[Path], object]:
    """Return what writes an archive, and then one more entry."""

    def extend(path: Path) -> None:
        write(path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(name, content)

    return extend


def linked(write: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return what writes an archive, and then a symbolic link as an entry of it."""

    def extend(path: Path) -> None:
        write(path)
        with zipfile.ZipFile(path, "a") as archive:
            folder = archive.namelist()[0].split("/")[0]
            entry = zipfile.ZipInfo(f"{folder}/data/0link")
            entry.external_attr = 0o120777 << 16
            archive.writestr(entry, "/etc/passwd")

    return extend


def bomb(path: Path) -> None:
    """A few megabytes that unpack to four gigabytes."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("model/data.pkl", "w", force_zip64=True) as entry,
    ):
        for _ in range(4096):
            entry.write(bytes(2**20))


def lying_bomb(path: Path) -> None:
    """An archive whose directory says that an entry, packed from half a gigabyte, has a hundred bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data.pkl", bytes(512 * 2**20))
    content = bytearray(path.read_bytes())
    directory = content.rindex(b"PK\x01\x02")
    for position in (22, directory + 24):  # the length of the content in the entry's own header and in the directory
        content[position : position + 4] = (100).to_bytes(4, "little")
    path.write_bytes(bytes(content))


def truncated(write: Callable[[Path], object]) -> Callable[[Path], object]:
    def cut(path: Path) -> None:
        write(path)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * 2 // 3])

    return cut


def bit_flipped(write: Callable[[Path], object], position: float) -> Callable[[Path], object]:
    def flip(path: Path) -> None:
        write(path)
        content = bytearray(path.read_bytes())
        content[int(len(content) * position)] ^= 0x10
        path.write_bytes(bytes(content))

    return flip


def pickled_command(path: Path) -> None:
    """A pickle that runs a command."""
    proof = str(path.parent.parent / PROOF).encode()
    command = b"cos\nsystem\n(Vtouch " + proof + b"\ntR."
    changed(traced, lambda name, content: command if name.endswith("/data.pkl") else content)(path)


def pickled_stack_global(path: Path) -> None:
    """The same, in the words of a newer protocol."""
    proof = str(path.parent.parent / PROOF).encode()
    text = b"touch " + proof
    command = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(text)]) + text + b"\x85R."
    changed(traced, lambda name, content: command if name.endswith("/data.pkl") else content)(path)


def setting_state(path: Path) -> None:
    scripted(Writing(str(path.parent.parent / PROOF)))(path)


def edited(entry: str, change: Callable[[Any], object]) -> Callable[[Path], object]:
    """Return what writes an exported program with one of its JSON documents changed in place."""

    def edit(name: str, content: bytes) -> bytes:
        if not name.endswith(entry):
            return content
        document = json.loads(content)
        change(document)
        return json.dumps(document).encode()

    return changed(exported, edit)


def replaced(entry: str, new: bytes) -> Callable[[Path], object]:
    return changed(exported, lambda name, content: new if name.endswith(entry) else content)


def sympy_expression(path: Path) -> None:
    proof = str(path.parent.parent / PROOF)
    code = f"__import__('pathlib').Path({proof!r}).touch()"

    def change(document: Any) -> None:
        for value in document["graph_module"]["graph"]["tensor_values"].values():
            value["sizes"][0] = {"as_expr": {"expr_str": code, "hint": {"as_int": 1}}}

    edited("models/model.json", change)(path)


def pickled_sample_inputs(path: Path) -> None:
    proof = str(path.parent.parent / PROOF).encode()
    command = b"cos\nsystem\n(Vtouch " + proof + b"\ntR."
    changed(exported, lambda name, content: command if "sample_inputs" in name else content)(path)


def pickled_weights(document: Any) -> None:
    for row in document["config"].values():
        row["use_pickle"] = True


def weights_elsewhere(document: Any) -> None:
    for row in document["config"].values():
        row["path_name"] = "../../../../etc/passwd"


def weights_of_terabytes(document: Any) -> None:
    for row in document["config"].values():
        row["tensor_meta"]["sizes"] = [{"as_int": 2**40}]
        row["tensor_meta"]["strides"] = [{"as_int": 0}]


def foreign_operator(document: Any) -> None:
    document["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.from_file.default"


def python_operator(document: Any) -> None:
    document["graph_module"]["graph"]["nodes"][0]["target"] = "os.system"


def cyclic(document: Any) -> None:
    nodes = document["graph_module"]["graph"]["nodes"]
    last = nodes[-1]["outputs"][0]["as_tensor"]["name"]
    nodes[0]["inputs"][0]["arg"] = {"as_tensor": {"name": last}}


def wrong_shapes(document: Any) -> None:
    row = document["config"]["linear.weight"]["tensor_meta"]
    row["sizes"], row["strides"] = [{"as_int": 2}, {"as_int": 10}], [{"as_int": 10}, {"as_int": 1}]


def huge_number(document: Any) -> None:
    for node in document["graph_module"]["graph"]["nodes"]:
        for entry in node["inputs"]:
            if "as_ints" in entry["arg"]:
                entry["arg"]["as_ints"] = [10**30]


def nested_json(path: Path) -> None:
    replaced("models/model.json", b"[" * 1_000_000)(path)


def odd_names(document: Any) -> None:
    """Names with slashes, null bytes and Python in place of the author's."""
    for row in ("linear.weight", "convolution.weight"):
        document["config"]["../\0" + row] = document["config"].pop(row)


TORCHSCRIPT_FILES = (
    HostileModel("torchscript-empty", "torchscript", lambda path: path.write_bytes(b""), "archive"),
    HostileModel("torchscript-truncated", "torchscript", truncated(traced), "archive"),
    HostileModel("torchscript-bit-flipped-early", "torchscript", bit_flipped(traced, 0.3), "archive|cannot be read"),
    HostileModel("torchscript-bomb", "torchscript", bomb, "would unpack"),
    HostileModel("torchscript-lying-bomb", "torchscript", lying_bomb, "archive|unpack"),
    HostileModel("torchscript-path-traversal", "torchscript", with_entry(traced, "../proof", b"x"), "unsafe name"),
    HostileModel("torchscript-absolute-path", "torchscript", with_entry(traced, "/etc/proof", b"x"), "unsafe name"),
    HostileModel("torchscript-two-folders", "torchscript", with_entry(traced, "other/data.pkl", b"x"), "one folder"),
    HostileModel("torchscript-symbolic-link", "torchscript", linked(traced), ""),
    HostileModel("torchscript-setstate", "torchscript", setting_state, "__setstate__"),
    HostileModel("torchscript-pickled-command", "torchscript", pickled_command, "names"),
    HostileModel("torchscript-pickled-stack-global", "torchscript", pickled_stack_global, "STACK_GLOBAL"),
    HostileModel("torchscript-endless-loop", "torchscript", scripted(Endless()), "takes too long"),
    HostileModel("torchscript-long-loop", "torchscript", scripted(Long()), "takes too long"),
    HostileModel("torchscript-waiting-loop", "torchscript", scripted(Waiting()), "control flow|rounds|loop|seconds"),
    HostileModel("torchscript-wide-list", "torchscript", scripted(WideList()), "larger|memory|list"),
    HostileModel("torchscript-long-text", "torchscript", scripted(LongText()), "larger|memory|text|operators"),
    HostileModel("torchscript-tall-power", "torchscript", scripted(TallPower()), "number|larger"),
    HostileModel("torchscript-growing-list", "torchscript", scripted(GrowingList()), "larger|memory|list"),
    HostileModel("torchscript-tensor-of-terabytes", "torchscript", scripted(WideTensor()), "memory|bytes|larger|GiB"),
    HostileModel("torchscript-doubling", "torchscript", scripted(Doubling()), "memory|bytes|larger|GiB"),
    HostileModel("torchscript-nested-calls", "torchscript", scripted(Nested(30)), "takes too long"),
)

TORCH_EXPORT_FILES = (
    HostileModel("torch-export-empty", "torch_export", lambda path: path.write_bytes(b""), "archive"),
    HostileModel("torch-export-truncated", "torch_export", truncated(exported), "archive"),
    HostileModel("torch-export-bit-flipped", "torch_export", bit_flipped(exported, 0.5), "archive|cannot be read"),
    HostileModel("torch-export-bomb", "torch_export", bomb, "would unpack"),
    HostileModel("torch-export-path-traversal", "torch_export", with_entry(exported, "../proof", b"x"), "unsafe name"),
    HostileModel("torch-export-sympy", "torch_export", sympy_expression, ""),
    HostileModel("torch-export-sample-inputs", "torch_export", pickled_sample_inputs, ""),
    HostileModel("torch-export-pickled", "torch_export", edited("_weights_config.json", pickled_weights), "pickled"),
    HostileModel(
        "torch-export-weights-elsewhere", "torch_export", edited("_weights_config.json", weights_elsewhere), "has no"
    ),
    HostileModel(
        "torch-export-terabytes", "torch_export", edited("_weights_config.json", weights_of_terabytes), "too few"
    ),
    HostileModel(
        "torch-export-foreign-operator", "torch_export", edited("models/model.json", foreign_operator), "from_file"
    ),
    HostileModel("torch-export-python", "torch_export", edited("models/model.json", python_operator), "os.system"),
    HostileModel("torch-export-cyclic", "torch_export", edited("models/model.json", cyclic), "cannot be read"),
    HostileModel("torch-export-wrong-shapes", "torch_export", edited("_weights_config.json", wrong_shapes), "shape"),
    HostileModel("torch-export-huge-number", "torch_export", edited("models/model.json", huge_number), "."),
    HostileModel("torch-export-nested-json", "torch_export", nested_json, "cannot be read"),
    HostileModel("torch-export-odd-names", "torch_export", edited("_weights_config.json", odd_names), "."),
    HostileModel("torch-export-no-json", "torch_export", replaced("models/model.json", b"\xff\xfe"), "cannot be read"),
)
