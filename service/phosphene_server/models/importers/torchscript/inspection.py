"""Looks at a TorchScript archive before torch does.

`torch.jit.load` compiles the code in an archive and runs a part of it: the `__setstate__` methods of its classes, and
constructors of classes registered in C++. So an archive with either is refused. What is left is repacked into a new
archive, and torch reads that one alone: it cannot see an entry that was not looked at, and two readers of zip files
cannot disagree on what is inside.
"""

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator, Mapping

from phosphene_server.errors import DamagedModel, UnsupportedModel
from phosphene_server.models.importers.torchscript.nesting import is_too_deep

PICKLES = ("data.pkl", "constants.pkl", "traced_inputs.pkl")
STORAGES = re.compile(r"(data|constants|traced_inputs)/\d+")
CODE = re.compile(r"code/.*\.py")
FORMAT = frozenset({"version", "byteorder", ".data/version"})

STATE_METHODS = (b"__setstate__", b"__getstate__")
KNOWN_NAMESPACES = frozenset({"aten", "prim"})
FORBIDDEN_OPERATORS = frozenset({"from_file", "save", "set_data", "_load_for_mobile"})
"""Operators of torch that reach outside the tensors they are given."""

PREPARED = re.compile("mkldnn", re.IGNORECASE)
LACKS_WEIGHTS = (
    "torch.jit.optimize_for_inference prepared it for one kind of processor, and then its weights are not in the file; "
    "save the module as it was before"
)

ALLOWED_GLOBALS = (
    re.compile(r"__torch__(?!\.torch\.classes)\S* \w+"),
    re.compile(r"torch\.jit\._pickle \w+"),
    re.compile(r"torch\._utils _rebuild_(tensor_v2|parameter)"),
    re.compile(r"torch (\w+Storage|\w*Tensor|device|Size)"),
    re.compile(r"collections OrderedDict"),
)
"""What the pickles may name, as `module name`."""


def repack(entries: Mapping[str, bytes], *, name: str) -> bytes:
    """Check the entries of an archive and return an archive of those that torch needs.

    Args:
        entries: Contents by name, without the topmost folder.
        name: The model's name, for messages.

    Raises:
        DamagedModel: it is no TorchScript archive, or its pickles name something that TorchScript never writes.
        UnsupportedModel: it holds code that runs while it is loaded, or operators that are not torch's own.
    """
    _check_kind(entries, name)
    _check_code(entries, name)
    _check_pickles(entries, name)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for entry, content in entries.items():
            if _is_needed(entry):
                archive.writestr(f"model/{entry}", content)
    return buffer.getvalue()


def _check_kind(entries: Mapping[str, bytes], name: str) -> None:
    if "models/model.json" in entries or "archive_format" in entries:
        raise DamagedModel(name, "this is a torch.export archive, not a TorchScript one")
    if "data.pkl" in entries and not any(CODE.fullmatch(entry) for entry in entries):
        raise DamagedModel(name, "this is a file of torch.save with weights alone; save a traced or scripted module")
    missing = [entry for entry in ("data.pkl", "constants.pkl") if entry not in entries]
    if missing:
        raise DamagedModel(name, f"this is no TorchScript archive: it has no {', '.join(missing)}")


def _check_code(entries: Mapping[str, bytes], name: str) -> None:
    for entry, content in entries.items():
        if CODE.fullmatch(entry) and any(method in content for method in STATE_METHODS):
            raise UnsupportedModel(name, f"{entry} defines __setstate__ or __getstate__, which would run when loaded")
        if CODE.fullmatch(entry) and is_too_deep(content.decode("utf-8", errors="replace")):
            raise DamagedModel(name, f"the code in {entry} is nested deeper than any that TorchScript writes")
    foreign = {
        (operator, entry)
        for entry, content in entries.items()
        if CODE.fullmatch(entry)
        for operator in _foreign_operators(content)
    }
    if foreign:
        operators = sorted({operator for operator, _ in foreign})
        rows = tuple((each, tuple(sorted(entry for other, entry in foreign if other == each))) for each in operators)
        prepared = any(PREPARED.search(operator) for operator in operators)
        raise UnsupportedModel(
            name, LACKS_WEIGHTS if prepared else "its code names operators that are not allowed", rows
        )


def _foreign_operators(content: bytes) -> Iterator[str]:
    text = content.decode("utf-8", errors="replace")
    for namespace, operator in re.findall(r"(?<![\w.])ops\s*\.\s*(\w+)\s*\.\s*(\w+)\s*\(", text):
        if namespace not in KNOWN_NAMESPACES or operator in FORBIDDEN_OPERATORS or PREPARED.search(operator):
            yield f"{namespace}::{operator}"
    for operator in re.findall(r"(?<![\w.])torch\s*\.\s*(\w+)\s*\(", text):
        if operator in FORBIDDEN_OPERATORS:
            yield f"aten::{operator}"


def _check_pickles(entries: Mapping[str, bytes], name: str) -> None:
    for entry in PICKLES:
        for imported in _imported_names(entries.get(entry, b""), name):
            if not any(pattern.fullmatch(imported) for pattern in ALLOWED_GLOBALS):
                raise DamagedModel(name, f"{entry} names {imported!r}, which is not part of TorchScript")


def _imported_names(content: bytes, name: str) -> Iterator[str]:
    """Yield what a pickle imports, without unpickling it."""
    if not content:
        return
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "GLOBAL":
                yield str(argument)
            elif opcode.name in {"STACK_GLOBAL", "INST"}:
                yield f"{opcode.name} instruction"
    except ValueError as error:
        raise DamagedModel(name, f"a pickle in the archive cannot be read: {error}") from error


def _is_needed(entry: str) -> bool:
    return entry in PICKLES or entry in FORMAT or bool(STORAGES.fullmatch(entry) or CODE.fullmatch(entry))
