"""Hostile ONNX files."""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.hostile.corpus import PROOF, SECRET, HostileModel

HUGE = 2**40
"""Elements: four terabytes of float32."""

Write = Callable[[Path], object]


def graph(
    nodes: Sequence[NodeProto],
    constants: Mapping[str, Any] | None = None,
    *,
    input_name: str = "input",
    output_name: str = "output",
) -> GraphProto:
    """Return a graph from a picture of 8 by 8 to a tensor of any shape."""
    return helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info(output_name, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()],
    )


def model(content: GraphProto, *, opset: int = 20) -> ModelProto:
    return helper.make_model(content, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def saved(nodes: Sequence[NodeProto], constants: Mapping[str, Any] | None = None, **names: str) -> Write:
    """Return what writes a model of these nodes."""
    return lambda path: path.write_bytes(model(graph(nodes, constants, **names)).SerializeToString())


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str] = ("output",), **attributes: Any) -> NodeProto:
    return helper.make_node(operator, list(inputs), list(outputs), name=operator.lower(), **attributes)


def plain() -> ModelProto:
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32)
    return model(graph([node("Conv", ["input", "weight"])], {"weight": weight}))


def truncated(path: Path) -> None:
    content = plain().SerializeToString()
    path.write_bytes(content[: len(content) // 2])


def weight_of_terabytes(path: Path) -> None:
    """99 bytes or so that claim a weight of four terabytes."""
    content = model(graph([node("Add", ["input", "weight"])]))
    content.graph.initializer.append(TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[HUGE]))
    path.write_bytes(content.SerializeToString())


def negative_length(path: Path) -> None:
    content = model(graph([node("Add", ["input", "weight"])]))
    content.graph.initializer.append(TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[-4, -2]))
    path.write_bytes(content.SerializeToString())


def external(location: str, **entries: str) -> Write:
    """Return what writes a model whose weight is in another file."""

    def write(path: Path) -> None:
        content = model(graph([node("Add", ["input", "weight"])], {"weight": np.zeros((1, 3, 8, 8), np.float32)}))
        tensor = content.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
        path.write_bytes(content.SerializeToString())

    return write


def external_through(link: Callable[[Path, Path], object]) -> Write:
    """Return what writes a model whose weight is a link to the secret."""

    def write(path: Path) -> None:
        link(path.parent.parent / SECRET, path.parent / "weights")
        external("weights")(path)

    return write


def external_pipe(path: Path) -> None:
    os.mkfifo(path.parent / "weights")
    external("weights")(path)


def cyclic(path: Path) -> None:
    nodes = [node("Add", ["input", "late"], ["early"]), node("Relu", ["early"], ["late"]), node("Relu", ["late"])]
    path.write_bytes(model(graph(nodes)).SerializeToString())


def endless_loop(path: Path) -> None:
    """A loop that goes on as long as a condition holds, which always does."""
    body = helper.make_graph(
        [node("Identity", ["going"], ["still"]), node("Sin", ["value"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("index", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    loop = node("Loop", ["", "true", "input"], body=body)
    path.write_bytes(model(graph([loop], {"true": np.array(True)})).SerializeToString())


def loops_in_loops(path: Path) -> None:
    """Six loops of a hundred rounds inside one another: a million million rounds, none of them over any limit."""
    body: GraphProto | None = None
    for depth in range(6):
        inside = [node("Sin", [f"value{depth}"], [f"next{depth}"])]
        if body is not None:
            inside = [node("Loop", ["rounds", "true", f"value{depth}"], [f"next{depth}"], body=body)]
        body = helper.make_graph(
            [*inside, node("Identity", [f"going{depth}"], [f"still{depth}"])],
            f"body{depth}",
            [
                helper.make_tensor_value_info(f"index{depth}", TensorProto.INT64, []),
                helper.make_tensor_value_info(f"going{depth}", TensorProto.BOOL, []),
                helper.make_tensor_value_info(f"value{depth}", TensorProto.FLOAT, None),
            ],
            [
                helper.make_tensor_value_info(f"still{depth}", TensorProto.BOOL, []),
                helper.make_tensor_value_info(f"next{depth}", TensorProto.FLOAT, None),
            ],
        )
    loop = node("Loop", ["rounds", "true", "input"], body=body)
    constants = {"true": np.array(True), "rounds": np.array(100)}
    path.write_bytes(model(graph([loop], constants)).SerializeToString())


def doubling(path: Path) -> None:
    """Each node joins the value before it with itself: forty small nodes, and two hundred terabytes."""
    names = ["input", *(f"value{index}" for index in range(39)), "output"]
    nodes = [node("Concat", [before, before], [after], axis=2) for before, after in itertools.pairwise(names)]
    path.write_bytes(model(graph(nodes)).SerializeToString())


def doubling_constant(path: Path) -> None:
    names = ["seed", *(f"value{index}" for index in range(39)), "doubled"]
    nodes = [node("Concat", [before, before], [after], axis=0) for before, after in itertools.pairwise(names)]
    nodes += [node("ReduceSum", ["doubled"], ["sum"]), node("Add", ["input", "sum"])]
    path.write_bytes(model(graph(nodes, {"seed": np.ones(64, np.float32)})).SerializeToString())


def recursive_function(path: Path) -> None:
    content = model(graph([helper.make_node("Again", ["input"], ["output"], domain="own")]))
    content.opset_import.append(helper.make_opsetid("own", 1))
    inner = helper.make_node("Again", ["x"], ["y"], domain="own")
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    content.functions.append(helper.make_function("own", "Again", ["x"], ["y"], [inner], imports))
    path.write_bytes(content.SerializeToString())


def laughing_functions(path: Path) -> None:
    """Thirty functions, each of which calls the one before it twice: a thousand million nodes when they are inlined."""
    content = model(graph([helper.make_node("F29", ["input"], ["output"], domain="own")]))
    content.opset_import.append(helper.make_opsetid("own", 1))
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    for index in range(30):
        inner = [
            helper.make_node(f"F{index - 1}" if index else "Sin", ["x"], ["m"], domain="own" if index else ""),
            helper.make_node(f"F{index - 1}" if index else "Sin", ["m"], ["y"], domain="own" if index else ""),
        ]
        content.functions.append(helper.make_function("own", f"F{index}", ["x"], ["y"], inner, imports))
    path.write_bytes(content.SerializeToString())


def python_in_names(path: Path) -> None:
    """Names that would be Python if somebody wrote them into code."""
    code = f"x); __import__('pathlib').Path({str(path.parent.parent / PROOF)!r}).touch() #"
    write = saved([node("Relu", [code], [code + "\n"])], input_name=code, output_name=code + "\n")
    write(path)


CONVOLUTION = {"weight": np.ones((4, 3, 3, 3), np.float32)}

ONNX_FILES = (
    HostileModel("onnx-empty", "onnx", lambda path: path.write_bytes(b""), "is not an ONNX model"),
    HostileModel("onnx-text", "onnx", lambda path: path.write_text("import os\n"), "is not an ONNX model"),
    HostileModel("onnx-truncated", "onnx", truncated, "is not an ONNX model|violates|cannot be read"),
    HostileModel("onnx-99-bytes-terabytes", "onnx", weight_of_terabytes, "weight"),
    HostileModel("onnx-negative-length", "onnx", negative_length, "weight"),
    HostileModel("onnx-external-parent", "onnx", external(f"../{SECRET}"), "outside of the model's folder"),
    HostileModel("onnx-external-absolute", "onnx", external("/etc/passwd"), "outside of the model's folder"),
    HostileModel("onnx-external-null-byte", "onnx", external("weights\0"), "outside of the model's folder"),
    HostileModel(
        "onnx-external-symbolic-link",
        "onnx",
        external_through(lambda secret, link: link.symlink_to(secret)),
        "outside of the model's folder",
    ),
    HostileModel(
        "onnx-external-hard-link", "onnx", external_through(lambda secret, link: link.hardlink_to(secret)), "hard link"
    ),
    HostileModel("onnx-external-pipe", "onnx", external_pipe, "weights"),
    HostileModel("onnx-external-offset", "onnx", external("model.onnx", offset="99999999999999999999"), "weight"),
    HostileModel("onnx-external-negative", "onnx", external("model.onnx", offset="-5"), "weight"),
    HostileModel("onnx-cyclic", "onnx", cyclic, "violates the ONNX specification"),
    HostileModel(
        "onnx-wrong-shapes",
        "onnx",
        saved([node("Conv", ["input", "weight"])], {"weight": np.ones((4, 5, 3, 3), np.float32)}),
        "conv|shape",
    ),
    HostileModel("onnx-missing-input", "onnx", saved([node("Relu", ["nowhere"])]), "violates|nowhere"),
    HostileModel(
        "onnx-kernel-of-terabytes",
        "onnx",
        saved([node("AveragePool", ["input"], kernel_shape=[HUGE, HUGE], pads=[HUGE] * 4)]),
        "averagepool|shape",
    ),
    HostileModel(
        "onnx-stride-zero", "onnx", saved([node("Conv", ["input", "weight"], strides=[0, 0])], CONVOLUTION), "."
    ),
    HostileModel("onnx-group-zero", "onnx", saved([node("Conv", ["input", "weight"], group=0)], CONVOLUTION), "."),
    HostileModel(
        "onnx-constant-of-terabytes",
        "onnx",
        saved([node("ConstantOfShape", ["lengths"])], {"lengths": np.array([HUGE])}),
        "constantofshape",
    ),
    HostileModel(
        "onnx-expand-to-terabytes",
        "onnx",
        saved(
            [node("Expand", ["input", "lengths"], ["wide"]), node("Sin", ["wide"])],
            {"lengths": np.array([HUGE, 1, 1, 1, 1])},
        ),
        "memory|bytes|larger|GiB",
    ),
    HostileModel(
        "onnx-tile-to-terabytes",
        "onnx",
        saved([node("Tile", ["input", "lengths"])], {"lengths": np.array([1, HUGE, 1, 1])}),
        "memory|bytes|larger|GiB",
    ),
    HostileModel(
        "onnx-pad-to-terabytes",
        "onnx",
        saved([node("Pad", ["input", "lengths"])], {"lengths": np.array([0, 0, HUGE, 0, 0, 0, 0, 0])}),
        "memory|bytes|larger|GiB",
    ),
    HostileModel(
        "onnx-resize-to-terabytes",
        "onnx",
        saved([node("Resize", ["input", "", "", "lengths"])], {"lengths": np.array([1, 3, 2**20, 2**20])}),
        "memory|bytes|larger|GiB",
    ),
    HostileModel(
        "onnx-range-of-terabytes",
        "onnx",
        saved(
            [node("Range", ["zero", "end", "one"], ["range"]), node("Cast", ["range"], to=1)],
            {"zero": np.array(0), "end": np.array(HUGE), "one": np.array(1)},
        ),
        "range",
    ),
    HostileModel("onnx-doubling", "onnx", doubling, "memory|bytes|larger|GiB"),
    HostileModel("onnx-doubling-constant", "onnx", doubling_constant, "memory|bytes|larger|GiB"),
    HostileModel("onnx-endless-loop", "onnx", endless_loop, "rounds|iterations|loop"),
    HostileModel("onnx-loops-in-loops", "onnx", loops_in_loops, "rounds|iterations|loop|seconds"),
    HostileModel("onnx-recursive-function", "onnx", recursive_function, "function|violates|Again"),
    HostileModel("onnx-laughing-functions", "onnx", laughing_functions, "function|nodes"),
    HostileModel("onnx-python-in-names", "onnx", python_in_names, ""),
    HostileModel(
        "onnx-slashes-and-null-bytes-in-names",
        "onnx",
        saved([node("Relu", ["../in\0put"], ["/etc/out\0put"])], input_name="../in\0put", output_name="/etc/out\0put"),
        "",
    ),
    HostileModel(
        "onnx-weight-hides-a-method",
        "onnx",
        saved([node("Add", ["input", "forward"])], {"forward": np.zeros((1, 3, 8, 8), np.float32)}),
        "",
    ),
)


def flipped(content: bytes, *, seed: int) -> bytes:
    """Return content with three bits turned over."""
    generator = np.random.default_rng(seed)
    changed = bytearray(content)
    for position in generator.integers(0, len(content), 3):
        changed[position] ^= 1 << int(generator.integers(0, 8))
    return bytes(changed)


def plain_bytes() -> bytes:
    content: bytes = onnx.ModelProto.SerializeToString(plain())
    return content
