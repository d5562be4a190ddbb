"""Imports an ONNX file: read, check, translate."""

from collections.abc import Callable
from pathlib import Path

from onnx import ModelProto, NodeProto, defs

from phosphene_server.errors import DamagedModel, UnsupportedModel
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.onnx.functions import Expansion
from phosphene_server.models.importers.onnx.operators import OPERATORS
from phosphene_server.models.importers.onnx.reading import read_model
from phosphene_server.models.importers.onnx.skeleton import check, infer_types, skeleton_of
from phosphene_server.models.importers.onnx.translation import translate
from phosphene_server.models.importers.onnx.value_types import value_types
from phosphene_server.models.importers.onnx.walking import STANDARD_DOMAINS, nodes_of

OLDEST_OPSET = 7
"""The first operator set that broadcasts as numpy does (2017)."""

RUNTIME_DOMAINS = ("com.microsoft", "com.ms.")
"""How the names of the domains begin whose operators ONNX Runtime makes of others when it optimizes or quantizes."""

RUNTIME_ADVICE = (
    "those of com.microsoft come from ONNX Runtime's optimizer and quantizer: "
    "take the file from before the optimization, and quantize it in the QDQ format"
)


def import_onnx(path: Path, *, name: str) -> ModelGraph:
    """Import an ONNX model.

    No code from the file is run, and nothing outside of the file's folder is read. Every fx node whose value the file
    names has that name in `node.meta["onnx_output"]`.

    Args:
        path: The .onnx file; external data lies in the same folder or below it.
        name: The name of the model, for errors.

    Returns:
        The graph, on the CPU, in float32 whatever precision the file stores.

    Raises:
        DamagedModel: the file cannot be read or violates the ONNX specification.
        UnsupportedModel: operators are missing; the error lists all of them with their nodes.
    """
    proto = read_model(path, model=name)
    opset = _opset(proto, name)
    expansion = Expansion(proto, opset=opset, name=name, has_handler=_has_handler)
    _refuse_missing_operators(proto, name, lambda node: _has_handler(node) or expansion.has_body(node))
    skeleton = skeleton_of(proto)
    check(skeleton, name=name)
    types = infer_types(skeleton)
    while expansion.expand(types):
        types = infer_types(skeleton_of(proto))
    _refuse_missing_operators(proto, name, _has_handler)
    return translate(proto, value_types(types), opset=opset, name=name)


def _has_handler(node: NodeProto) -> bool:
    return node.domain in STANDARD_DOMAINS and node.op_type in OPERATORS


def _refuse_missing_operators(proto: ModelProto, name: str, is_known: Callable[[NodeProto], bool]) -> None:
    missing: dict[str, list[str]] = {}
    for node in nodes_of(proto.graph.node):
        if not is_known(node):
            operator = node.op_type if node.domain in STANDARD_DOMAINS else f"{node.domain}::{node.op_type}"
            missing.setdefault(operator, []).append(node.name or (node.output[0] if node.output else "unnamed"))
    if missing:
        rows = tuple((operator, tuple(nodes)) for operator, nodes in sorted(missing.items()))
        detail = "it needs operators that the ONNX importer does not have"
        made_by_runtime = any(operator.startswith(RUNTIME_DOMAINS) for operator in missing)
        raise UnsupportedModel(name, f"{detail} ({RUNTIME_ADVICE})" if made_by_runtime else detail, rows)


def _opset(proto: ModelProto, name: str) -> int:
    """Return the operator set of a model; an older one counts as the oldest where no operator changed in between."""
    versions = [entry.version for entry in proto.opset_import if entry.domain in STANDARD_DOMAINS]
    standard = [node for node in nodes_of(proto.graph.node) if node.domain in STANDARD_DOMAINS]
    if not versions and standard:
        raise DamagedModel(name, "it does not say which operator set it uses")
    version = versions[0] if versions else defs.onnx_opset_version()
    if version >= OLDEST_OPSET:
        return version
    changed = sorted({node.op_type for node in standard if not _unchanged_since(node.op_type, version)})
    if changed:
        detail = f"its operator set {version} is older than {OLDEST_OPSET} and has another {', '.join(changed)}"
        raise UnsupportedModel(name, detail)
    return OLDEST_OPSET


def _unchanged_since(operator: str, version: int) -> bool:
    known = defs.has(operator, OLDEST_OPSET)
    return known and defs.get_schema(operator, OLDEST_OPSET).since_version <= version
