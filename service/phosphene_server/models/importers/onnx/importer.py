"""Imports an ONNX file: read, check, translate."""

from pathlib import Path

from onnx import ModelProto

from phosphene_server.errors import DamagedModel, UnsupportedModel
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.onnx.operators import OPERATORS
from phosphene_server.models.importers.onnx.reading import read_model
from phosphene_server.models.importers.onnx.skeleton import check, infer_types
from phosphene_server.models.importers.onnx.translation import Translation

STANDARD_DOMAINS = ("", "ai.onnx")
OLDEST_OPSET = 7
"""The first operator set that broadcasts as numpy does (2017)."""


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
    _refuse_missing_operators(proto, name)
    skeleton = check(proto, name=name)
    types = infer_types(skeleton)
    return Translation(proto, types, opset=_opset(proto, name), name=name).run()


def _refuse_missing_operators(proto: ModelProto, name: str) -> None:
    missing: dict[str, list[str]] = {}
    for node in proto.graph.node:
        standard = node.domain in STANDARD_DOMAINS
        if not standard or node.op_type not in OPERATORS:
            operator = node.op_type if standard else f"{node.domain}::{node.op_type}"
            missing.setdefault(operator, []).append(node.name or (node.output[0] if node.output else "unnamed"))
    if missing:
        rows = tuple((operator, tuple(nodes)) for operator, nodes in sorted(missing.items()))
        raise UnsupportedModel(name, "it needs operators that the ONNX importer does not have", rows)


def _opset(proto: ModelProto, name: str) -> int:
    versions = [entry.version for entry in proto.opset_import if entry.domain in STANDARD_DOMAINS]
    if not versions:
        raise DamagedModel(name, "it does not say which operator set it uses")
    if versions[0] < OLDEST_OPSET:
        raise UnsupportedModel(name, f"its operator set {versions[0]} is older than {OLDEST_OPSET}")
    return versions[0]
