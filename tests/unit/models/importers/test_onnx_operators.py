"""Every handler against ONNX Runtime, and the differentiable ones against finite differences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.onnx import import_onnx

Build = Callable[..., tuple[Path, np.ndarray]]

RANDOM = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def integers(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


def write_model(
    path: Path,
    operator: str,
    shape: tuple[int, ...],
    constants: tuple[np.ndarray | None, ...] = (),
    *,
    opset: int = 20,
    data_type: int = TensorProto.FLOAT,
    **attributes: Any,
) -> Path:
    """Write a model of one node, whose first input is the model's and whose other inputs are constants."""
    names = [f"constant{index}" if value is not None else "" for index, value in enumerate(constants)]
    node = helper.make_node(operator, ["input", *names], ["output"], name="node", **attributes)
    graph = helper.make_graph(
        [node],
        "one_node",
        [helper.make_tensor_value_info("input", data_type, [None] * len(shape))],
        [onnx.ValueInfoProto(name="output")],
        [numpy_helper.from_array(value, name) for name, value in zip(names, constants, strict=True) if name],
    )
    inferred = onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    )
    onnx.save(inferred, path)
    return path


def run_original(path: Path, *inputs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [argument.name for argument in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def agree(path: Path, *inputs: np.ndarray, tolerance: float = 1e-4) -> ModelGraph:
    graph = import_onnx(path, name="one_node")
    for ours, theirs in zip(graph(*map(torch.from_numpy, inputs)), run_original(path, *inputs), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=tolerance, atol=tolerance)
        assert ours.numpy().dtype == theirs.dtype
    return graph


def differentiable(graph: ModelGraph, values: np.ndarray) -> bool:
    graph.to(dtype=torch.float64)
    source = torch.from_numpy(values).double().requires_grad_()
    return torch.autograd.gradcheck(lambda tensor: graph(tensor)[0], (source,), fast_mode=True)


PICTURE = (2, 4, 9, 7)
KERNEL = weights(6, 4, 3, 3)
BIAS = weights(6)
CHANNELS = tuple(np.abs(weights(4)) + 0.5 for _ in range(4))

GRID = 0.7 * weights(2, 3, 4, 2)
REGIONS = np.array([[0.4, 1.1, 5.2, 6.3], [2.0, 0.7, 3.1, 8.2], [-1.5, 3.3, 9.4, 4.6]], dtype=np.float32)
SEQUENCE = (5, 2, 4)
LENGTHS = np.array([5, 3], dtype=np.int32)

SMOOTH: dict[str, tuple[str, tuple[int, ...], tuple[np.ndarray | None, ...], dict[str, Any]]] = {
    "convolution": ("Conv", PICTURE, (KERNEL, BIAS), {"pads": [1, 1, 1, 1], "strides": [2, 1]}),
    "convolution, asymmetric": ("Conv", PICTURE, (KERNEL,), {"pads": [0, 1, 2, 0], "dilations": [2, 1]}),
    "convolution, same upper": ("Conv", PICTURE, (KERNEL,), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "convolution, same lower": ("Conv", PICTURE, (KERNEL,), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "convolution, valid": ("Conv", PICTURE, (KERNEL,), {"auto_pad": "VALID"}),
    "convolution, grouped": ("Conv", PICTURE, (weights(6, 2, 3, 3), BIAS), {"group": 2}),
    "convolution, 1-d": ("Conv", (2, 4, 9), (weights(6, 4, 3),), {"pads": [1, 0]}),
    "convolution, 3-d": ("Conv", (1, 2, 4, 4, 4), (weights(3, 2, 2, 2, 2),), {}),
    "transposed convolution": (
        "ConvTranspose",
        PICTURE,
        (weights(4, 3, 3, 3), weights(3)),
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 0]},
    ),
    "transposed convolution, asymmetric": (
        "ConvTranspose",
        PICTURE,
        (weights(4, 3, 3, 3),),
        {"strides": [2, 1], "pads": [0, 1, 1, 0]},
    ),
    "transposed convolution, same": (
        "ConvTranspose",
        PICTURE,
        (weights(4, 3, 3, 3),),
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    ),
    "transposed convolution, to a shape": (
        "ConvTranspose",
        PICTURE,
        (weights(4, 3, 3, 3),),
        {"strides": [2, 2], "output_shape": [18, 14]},
    ),
    "max pool": ("MaxPool", PICTURE, (), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "max pool, ceiling": ("MaxPool", PICTURE, (), {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    "max pool, asymmetric": ("MaxPool", PICTURE, (), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 2, 1]}),
    "max pool, asymmetric ceiling": (
        "MaxPool",
        PICTURE,
        (),
        {"kernel_shape": [3, 2], "strides": [3, 2], "pads": [0, 1, 2, 0], "ceil_mode": 1},
    ),
    "max pool, same": ("MaxPool", PICTURE, (), {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    "average pool": ("AveragePool", PICTURE, (), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "average pool, padding counts": (
        "AveragePool",
        PICTURE,
        (),
        {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
    ),
    "average pool, ceiling": (
        "AveragePool",
        PICTURE,
        (),
        {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    ),
    "average pool, asymmetric": (
        "AveragePool",
        PICTURE,
        (),
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0]},
    ),
    "average pool, asymmetric padding counts": (
        "AveragePool",
        PICTURE,
        (),
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 1, 1, 0], "count_include_pad": 1},
    ),
    "average pool, same": ("AveragePool", PICTURE, (), {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}),
    "global average pool": ("GlobalAveragePool", PICTURE, (), {}),
    "global average pool, 1-d": ("GlobalAveragePool", (2, 3, 5), (), {}),
    "global max pool": ("GlobalMaxPool", PICTURE, (), {}),
    "lp pool": ("LpPool", PICTURE, (), {"kernel_shape": [2, 2], "p": 2}),
    "global lp pool": ("GlobalLpPool", PICTURE, (), {"p": 2}),
    "batch normalization": ("BatchNormalization", PICTURE, CHANNELS, {"epsilon": 1e-3}),
    "layer normalization": ("LayerNormalization", (2, 3, 8), (weights(8), weights(8)), {"axis": -1}),
    "layer normalization, two axes": ("LayerNormalization", (2, 3, 8), (weights(3, 8),), {"axis": 1}),
    "instance normalization": ("InstanceNormalization", PICTURE, CHANNELS[:2], {}),
    "local response normalization": ("LRN", PICTURE, (), {"size": 3, "alpha": 0.5, "bias": 2.0}),
    "matrix product": ("MatMul", (2, 3, 5), (weights(5, 4),), {}),
    "matrix product, batched": ("MatMul", (2, 3, 5), (weights(2, 5, 4),), {}),
    "linear": ("Gemm", (3, 5), (weights(4, 5), weights(4)), {"transB": 1}),
    "linear, scaled": ("Gemm", (3, 5), (weights(5, 4), weights(3, 1)), {"alpha": 0.5, "beta": 2.0}),
    "linear, transposed": ("Gemm", (5, 3), (weights(5, 4),), {"transA": 1}),
    "einsum": ("Einsum", (2, 3, 5), (weights(5, 3),), {"equation": "bij, ji -> bi"}),
    "relu": ("Relu", PICTURE, (), {}),
    "clip": ("Clip", PICTURE, (np.float32(-0.4), np.float32(0.7)), {}),
    "clip to six": ("Clip", PICTURE, (np.float32(0), np.float32(6)), {}),
    "clip above": ("Clip", PICTURE, (None, np.float32(0.3)), {}),
    "leaky relu": ("LeakyRelu", PICTURE, (), {"alpha": 0.2}),
    "prelu, per channel": ("PRelu", PICTURE, (weights(4, 1, 1),), {}),
    "prelu, per element": ("PRelu", PICTURE, (weights(9, 7),), {}),
    "elu": ("Elu", PICTURE, (), {"alpha": 0.7}),
    "selu": ("Selu", PICTURE, (), {}),
    "selu, own constants": ("Selu", PICTURE, (), {"alpha": 1.5, "gamma": 0.9}),
    "celu": ("Celu", PICTURE, (), {"alpha": 0.7}),
    "gelu": ("Gelu", PICTURE, (), {}),
    "gelu, by tanh": ("Gelu", PICTURE, (), {"approximate": "tanh"}),
    "sigmoid": ("Sigmoid", PICTURE, (), {}),
    "hard sigmoid": ("HardSigmoid", PICTURE, (), {"alpha": 0.3, "beta": 0.4}),
    "hard sigmoid of torch": ("HardSigmoid", PICTURE, (), {"alpha": 1 / 6, "beta": 0.5}),
    "hard swish": ("HardSwish", PICTURE, (), {}),
    "mish": ("Mish", PICTURE, (), {}),
    "tanh": ("Tanh", PICTURE, (), {}),
    "softplus": ("Softplus", PICTURE, (), {}),
    "softsign": ("Softsign", PICTURE, (), {}),
    "thresholded relu": ("ThresholdedRelu", PICTURE, (), {"alpha": 0.3}),
    "softmax": ("Softmax", (2, 3, 4), (), {"axis": 1}),
    "log softmax": ("LogSoftmax", (2, 3, 4), (), {}),
    "erf": ("Erf", PICTURE, (), {}),
    "addition": ("Add", PICTURE, (weights(4, 1, 1),), {}),
    "subtraction": ("Sub", PICTURE, (np.float32(0.5),), {}),
    "multiplication": ("Mul", PICTURE, (weights(1, 4, 1, 1),), {}),
    "division": ("Div", PICTURE, (np.float32(0.3),), {}),
    "power": ("Pow", PICTURE, (np.float32(2),), {}),
    "maximum": ("Max", PICTURE, (weights(4, 1, 1), np.float32(0.1)), {}),
    "minimum": ("Min", PICTURE, (weights(4, 1, 1),), {}),
    "sum": ("Sum", PICTURE, (weights(4, 1, 1), weights(7)), {}),
    "mean of several": ("Mean", PICTURE, (weights(4, 1, 1), weights(7)), {}),
    "absolute value": ("Abs", PICTURE, (), {}),
    "negation": ("Neg", PICTURE, (), {}),
    "exponential": ("Exp", PICTURE, (), {}),
    "sine": ("Sin", PICTURE, (), {}),
    "mean": ("ReduceMean", PICTURE, (integers(2, 3),), {"keepdims": 0}),
    "mean of all": ("ReduceMean", PICTURE, (), {}),
    "sum over axes": ("ReduceSum", PICTURE, (integers(1),), {}),
    "maximum over axes": ("ReduceMax", PICTURE, (integers(-1),), {}),
    "minimum over axes": ("ReduceMin", PICTURE, (integers(-1, 1),), {}),
    "product over axes": ("ReduceProd", (2, 3, 4), (integers(1, -1),), {}),
    "magnitude": ("ReduceL1", PICTURE, (integers(1),), {}),
    "norm": ("ReduceL2", PICTURE, (integers(1),), {}),
    "logarithm of sum of exponentials": ("ReduceLogSumExp", PICTURE, (integers(1),), {}),
    "sum of squares": ("ReduceSumSquare", PICTURE, (integers(1),), {}),
    "cumulative sum": ("CumSum", (2, 5), (np.int64(1),), {"exclusive": 1, "reverse": 1}),
    "reshape": ("Reshape", PICTURE, (integers(0, -1, 7),), {}),
    "flatten": ("Flatten", PICTURE, (), {}),
    "flatten at another axis": ("Flatten", PICTURE, (), {"axis": 3}),
    "flatten to a row": ("Flatten", PICTURE, (), {"axis": 0}),
    "squeeze": ("Squeeze", (2, 1, 3, 1), (integers(1, -1),), {}),
    "squeeze all": ("Squeeze", (2, 1, 3, 1), (), {}),
    "unsqueeze": ("Unsqueeze", (2, 3), (integers(0, 2),), {}),
    "unsqueeze from the end": ("Unsqueeze", (2, 3), (integers(-1, 1),), {}),
    "transpose": ("Transpose", PICTURE, (), {"perm": [0, 2, 3, 1]}),
    "transpose, reversed": ("Transpose", PICTURE, (), {}),
    "expand": ("Expand", (2, 1, 3), (integers(4, 1),), {}),
    "tile": ("Tile", (2, 3), (integers(2, 1),), {}),
    "concatenation": ("Concat", PICTURE, (weights(2, 1, 9, 7),), {"axis": 1}),
    "depth to space": ("DepthToSpace", (2, 8, 3, 2), (), {"blocksize": 2}),
    "depth to space, column first": ("DepthToSpace", (2, 8, 3, 2), (), {"blocksize": 2, "mode": "CRD"}),
    "space to depth": ("SpaceToDepth", (2, 2, 4, 6), (), {"blocksize": 2}),
    "padding": ("Pad", PICTURE, (integers(0, 0, 1, 2, 0, 1, 0, 0), np.float32(0.5)), {}),
    "padding, cropping": ("Pad", PICTURE, (integers(0, 0, -1, 2, 0, 0, 0, -2),), {}),
    "padding, reflected": ("Pad", PICTURE, (integers(0, 0, 2, 1, 0, 0, 1, 2),), {"mode": "reflect"}),
    "padding, edge": ("Pad", PICTURE, (integers(0, 1, 2, 1, 0, 0, 1, 2),), {"mode": "edge"}),
    "padding, chosen axes": ("Pad", PICTURE, (integers(1, 2, 3, 0), None, integers(-1, 2)), {}),
    "slice": ("Slice", PICTURE, (integers(1, -3), integers(9, 2**62), integers(2, 3), integers(2, 1)), {}),
    "slice from the end": ("Slice", PICTURE, (integers(1), integers(3), integers(-3)), {}),
    "slice backwards": ("Slice", PICTURE, (integers(-1), integers(-(2**62)), integers(2), integers(-2)), {}),
    "gather one": ("Gather", PICTURE, (np.int64(-1),), {"axis": 1}),
    "gather several": ("Gather", PICTURE, (integers(0, 2),), {"axis": 1}),
    "gather, in a matrix": ("Gather", PICTURE, (integers(0, -1, 2, 1).reshape(2, 2),), {"axis": 2}),
    "gather elements": ("GatherElements", (3, 4), (integers(0, -1, 2, 1).reshape(2, 2),), {"axis": 1}),
    "gather tuples": ("GatherND", (3, 4, 2), (integers(0, 1, 2, 3).reshape(2, 2),), {}),
    "upper triangle": ("Trilu", (2, 4, 5), (np.int64(1),), {}),
    "lower triangle": ("Trilu", (2, 4, 5), (), {"upper": 0}),
    "resize, nearest": (
        "Resize",
        PICTURE,
        (None, np.float32([1, 1, 2, 2])),
        {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
    ),
    "resize, nearest by halves": ("Resize", PICTURE, (None, np.float32([1, 1, 2.5, 0.6])), {}),
    "resize, linear": ("Resize", PICTURE, (None, np.float32([1, 1, 2, 1.5])), {"mode": "linear"}),
    "resize, linear to a size": ("Resize", PICTURE, (None, None, integers(2, 4, 5, 13)), {"mode": "linear"}),
    "resize, linear with corners": (
        "Resize",
        PICTURE,
        (None, None, integers(2, 4, 5, 13)),
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    ),
    "resize, linear asymmetric": (
        "Resize",
        PICTURE,
        (None, np.float32([1, 1, 2, 0.5])),
        {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
    ),
    "resize, cubic": ("Resize", PICTURE, (None, np.float32([1, 1, 2, 1.5])), {"mode": "cubic"}),
    "resize, nearest by whole numbers": ("Resize", PICTURE, (None, np.float32([1, 1, 2, 3])), {}),
    "resize, nearest and halves up": (
        "Resize",
        PICTURE,
        (None, np.float32([1, 1, 0.5, 2.5])),
        {"nearest_mode": "round_prefer_ceil"},
    ),
    "resize, cubic with corners": (
        "Resize",
        PICTURE,
        (None, None, integers(2, 4, 5, 13)),
        {"mode": "cubic", "coordinate_transformation_mode": "align_corners"},
    ),
    "resize, cubic of another shape": (
        "Resize",
        PICTURE,
        (None, np.float32([1, 1, 2, 0.7])),
        {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": 1},
    ),
    "resize, symmetric": (
        "Resize",
        PICTURE,
        (None, np.float32([1, 1, 0.6, 1.3])),
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"},
    ),
    "resize, part of the picture": (
        "Resize",
        PICTURE,
        (np.float32([0, 0, 0.2, -0.3, 1, 1, 0.8, 1.1]), None, integers(2, 4, 5, 6)),
        {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 7.0},
    ),
    "resize, no larger than": (
        "Resize",
        PICTURE,
        (None, None, integers(5, 6)),
        {"axes": [2, 3], "keep_aspect_ratio_policy": "not_larger", "mode": "linear"},
    ),
    "max pool, dilated": ("MaxPool", PICTURE, (), {"kernel_shape": [2, 3], "dilations": [2, 1], "pads": [1, 0, 1, 1]}),
    "max pool, 1-d": ("MaxPool", (2, 3, 9), (), {"kernel_shape": [3], "auto_pad": "SAME_UPPER", "strides": [2]}),
    "max pool, 3-d": (
        "MaxPool",
        (1, 2, 4, 5, 4),
        (),
        {"kernel_shape": [2, 2, 2], "ceil_mode": 1, "strides": [2, 2, 3]},
    ),
    "average pool, dilated": (
        "AveragePool",
        PICTURE,
        (),
        {"kernel_shape": [2, 3], "dilations": [2, 1], "pads": [0, 1, 1, 1], "ceil_mode": 1},
    ),
    "average pool, 3-d": ("AveragePool", (1, 2, 4, 5, 4), (), {"kernel_shape": [2, 2, 2], "strides": [2, 2, 1]}),
    "lp pool, first order": ("LpPool", PICTURE, (), {"kernel_shape": [3, 2], "p": 1, "strides": [2, 2]}),
    "lp pool, third order": ("LpPool", PICTURE, (), {"kernel_shape": [3, 3], "p": 3, "pads": [1, 1, 1, 1]}),
    "transposed convolution, same lower": (
        "ConvTranspose",
        PICTURE,
        (weights(4, 3, 3, 3),),
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    ),
    "transposed convolution, grouped": (
        "ConvTranspose",
        PICTURE,
        (weights(4, 2, 3, 2), weights(4)),
        {"strides": [2, 3], "group": 2, "dilations": [2, 1]},
    ),
    "transposed convolution, 1-d": ("ConvTranspose", (2, 4, 5), (weights(4, 3, 3),), {"pads": [1, 1]}),
    "instance normalization of single elements": ("InstanceNormalization", (2, 4, 1, 1), CHANNELS[:2], {}),
    "instance normalization, 1-d": ("InstanceNormalization", (2, 4, 6), CHANNELS[:2], {}),
    "norm along an axis": ("LpNormalization", (2, 3, 8), (), {"axis": 1, "p": 1}),
    "standardization": ("MeanVarianceNormalization", PICTURE, (), {}),
    "product with integers": ("MatMul", (5,), (weights(5, 4),), {}),
    "einsum, diagonal": ("Einsum", (3, 3), (), {"equation": "ii->i"}),
    "einsum, ellipsis": ("Einsum", (2, 3, 5), (weights(5, 4),), {"equation": "...i,ij->...j"}),
    "determinant": ("Det", (2, 3, 3), (), {}),
    "cumulative sum, plain": ("CumSum", (2, 5), (np.int64(-1),), {}),
    "sum over nothing": ("ReduceSum", PICTURE, (), {"noop_with_empty_axes": 1}),
    "padding, wrapped": ("Pad", (2, 3, 4), (integers(0, 1, 2, 0, 0, 3),), {"mode": "wrap"}),
    "padding, reflected and cropped": ("Pad", (2, 5, 4), (integers(0, -1, 2, 0, 1, -1),), {"mode": "reflect"}),
    "crop and padding": ("CenterCropPad", PICTURE, (integers(4, 10),), {"axes": [2, -1]}),
    "columns to a picture": (
        "Col2Im",
        (1, 18, 6),
        (integers(5, 6), integers(3, 3)),
        {"pads": [1, 0, 0, 1], "strides": [2, 1], "dilations": [1, 2]},
    ),
    "columns to a row": ("Col2Im", (2, 6, 4), (integers(6), integers(3)), {}),
    "scatter": ("ScatterElements", (3, 4), (integers(0, -1, 2, 1).reshape(2, 2), weights(2, 2)), {"axis": 1}),
    "scatter, adding": (
        "ScatterElements",
        (3, 4),
        (integers(0, 0, 2, 1).reshape(2, 2), weights(2, 2)),
        {"axis": 1, "reduction": "add"},
    ),
    "scatter, largest": (
        "ScatterElements",
        (3, 4),
        (integers(0, 0, 2, 1).reshape(2, 2), weights(2, 2)),
        {"reduction": "max"},
    ),
    "scatter of tuples, product": (
        "ScatterND",
        (3, 4, 2),
        (integers(0, 1, 2, -1).reshape(2, 2), weights(2, 2)),
        {"reduction": "mul"},
    ),
    "scatter of tuples, smallest": (
        "ScatterND",
        (3, 4),
        (integers(0, 1, 0, 1).reshape(2, 2), weights(2)),
        {"reduction": "min"},
    ),
    "reversed sequences": ("ReverseSequence", (4, 3, 2), (integers(1, 4, 2),), {"time_axis": 0, "batch_axis": 1}),
    "chosen slices": ("Compress", (3, 4), (np.array([True, False, True]),), {"axis": 0}),
    "shrinking": ("Shrink", PICTURE, (), {"bias": 0.2, "lambd": 0.4}),
    "sampling on a grid": ("GridSample", PICTURE, (GRID,), {}),
    "sampling, cubic": ("GridSample", PICTURE, (GRID,), {"mode": "cubic", "align_corners": 1}),
    "sampling, cubic and reflected": ("GridSample", PICTURE, (GRID,), {"mode": "cubic", "padding_mode": "reflection"}),
    "sampling, at the border": ("GridSample", PICTURE, (GRID,), {"padding_mode": "border"}),
    "sampling, reflected": ("GridSample", PICTURE, (GRID,), {"padding_mode": "reflection", "align_corners": 1}),
    "sampling, nearest": ("GridSample", PICTURE, (GRID,), {"mode": "nearest"}),
    "sampling of a volume": ("GridSample", (1, 2, 3, 4, 5), (0.7 * weights(1, 2, 2, 3, 3),), {}),
    "affine grid": ("AffineGrid", (2, 2, 3), (integers(2, 1, 4, 5),), {}),
    "regions": ("RoiAlign", PICTURE, (REGIONS, integers(0, 1, 1)), {"output_height": 3, "output_width": 2}),
    "regions, old corners": (
        "RoiAlign",
        PICTURE,
        (REGIONS, integers(0, 1, 1)),
        {
            "output_height": 2,
            "output_width": 2,
            "sampling_ratio": 2,
            "spatial_scale": 0.7,
            "coordinate_transformation_mode": "output_half_pixel",
        },
    ),
    "largest of regions": (
        "MaxRoiPool",
        PICTURE,
        (np.float32([[0, 1, 0, 4, 7], [1, 2, 2, 3.6, 5], [1, 5, 6, 9, 9]]),),
        {"pooled_shape": [3, 2], "spatial_scale": 0.8},
    ),
    "deformable convolution": (
        "DeformConv",
        (1, 4, 5, 5),
        (weights(2, 2, 3, 3), 0.6 * weights(1, 36, 5, 5), weights(2), np.abs(weights(1, 18, 5, 5))),
        {"pads": [1, 1, 1, 1], "group": 2, "offset_group": 2},
    ),
    "rnn": ("RNN", SEQUENCE, (weights(1, 3, 4), weights(1, 3, 3), weights(1, 6)), {"hidden_size": 3}),
    "rnn, backwards": (
        "RNN",
        SEQUENCE,
        (weights(1, 3, 4), weights(1, 3, 3), None, LENGTHS, weights(1, 2, 3)),
        {"hidden_size": 3, "direction": "reverse", "activations": ["LeakyRelu"], "activation_alpha": [0.2]},
    ),
    "gru": ("GRU", SEQUENCE, (weights(1, 9, 4), weights(1, 9, 3), weights(1, 18)), {"hidden_size": 3}),
    "gru, both ways": (
        "GRU",
        SEQUENCE,
        (weights(2, 9, 4), weights(2, 9, 3), weights(2, 18), LENGTHS),
        {"hidden_size": 3, "direction": "bidirectional", "linear_before_reset": 1},
    ),
    "lstm": ("LSTM", SEQUENCE, (weights(1, 12, 4), weights(1, 12, 3), weights(1, 24)), {"hidden_size": 3}),
    "lstm, with all inputs": (
        "LSTM",
        SEQUENCE,
        (
            weights(2, 12, 4),
            weights(2, 12, 3),
            weights(2, 24),
            LENGTHS,
            weights(2, 2, 3),
            weights(2, 2, 3),
            weights(2, 9),
        ),
        {"hidden_size": 3, "direction": "bidirectional"},
    ),
    "lstm, coupled and clipped": (
        "LSTM",
        SEQUENCE,
        (weights(1, 12, 4), weights(1, 12, 3)),
        {"hidden_size": 3, "input_forget": 1, "clip": 0.4},
    ),
    "lstm, other activations": (
        "LSTM",
        SEQUENCE,
        (weights(1, 12, 4), weights(1, 12, 3)),
        {
            "hidden_size": 3,
            "activations": ["HardSigmoid", "ScaledTanh", "Softsign"],
            "activation_alpha": [0.3, 0.8],
            "activation_beta": [0.4, 0.9],
        },
    ),
}
"""What a case is -> operator, input shape, constant inputs, attributes. All are differentiable."""


@pytest.mark.parametrize("case", SMOOTH)
def test_operator_agrees_with_onnx_runtime_and_finite_differences(case: str, tmp_path: Path) -> None:
    operator, shape, constants, attributes = SMOOTH[case]
    path = write_model(tmp_path / "model.onnx", operator, shape, constants, **attributes)
    values = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    graph = agree(path, values)
    small = values[:1, :, :6, :5] if shape == PICTURE and _any_size(operator) else values
    assert differentiable(graph, small)


def _any_size(operator: str) -> bool:
    fixed = ("ConvTranspose", "Reshape", "PRelu", "Concat", "Resize", "Sum", "Mean", "Einsum", "Gather")
    return operator not in (*fixed, "GridSample", "RoiAlign", "MaxRoiPool")


POSITIVE = {
    "Log": (),
    "Sqrt": (),
    "Reciprocal": (),
    "Asin": (),
    "Acos": (),
    "Atanh": (),
    "ReduceLogSum": (integers(1),),
}


@pytest.mark.parametrize("operator", POSITIVE)
def test_operator_of_positive_numbers_agrees(operator: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.onnx", operator, (2, 5), POSITIVE[operator])
    values = np.random.default_rng(1).uniform(0.2, 0.8, (2, 5)).astype(np.float32)
    assert differentiable(agree(path, values), values)


STEPS: dict[str, tuple[str, tuple[np.ndarray | None, ...], dict[str, Any]]] = {
    "floor": ("Floor", (), {}),
    "ceiling": ("Ceil", (), {}),
    "rounding": ("Round", (), {}),
    "sign": ("Sign", (), {}),
    "remainder": ("Mod", (np.float32(0.7),), {"fmod": 1}),
    "equal": ("Equal", (np.float32(0.5),), {}),
    "greater": ("Greater", (np.float32(0.5),), {}),
    "less or equal": ("LessOrEqual", (weights(5),), {}),
    "not a number": ("IsNaN", (), {}),
    "to integers": ("Cast", (), {"to": TensorProto.INT64}),
    "to booleans": ("Cast", (), {"to": TensorProto.BOOL}),
    "shape": ("Shape", (), {"start": 1}),
    "size": ("Size", (), {}),
    "first maximum": ("ArgMax", (), {"axis": 1}),
    "last minimum": ("ArgMin", (), {"axis": 0, "select_last_index": 1, "keepdims": 0}),
    "not zero": ("NonZero", (), {}),
}


@pytest.mark.parametrize("case", STEPS)
def test_operator_without_gradient_agrees_with_onnx_runtime(case: str, tmp_path: Path) -> None:
    operator, constants, attributes = STEPS[case]
    path = write_model(tmp_path / "model.onnx", operator, (4, 5), constants, **attributes)
    agree(path, np.array(np.random.default_rng(2).integers(-4, 5, (4, 5)) / 2, dtype=np.float32))


OLD: dict[str, tuple[str, tuple[int, ...], tuple[np.ndarray | None, ...], int, dict[str, Any]]] = {
    "softmax flattens": ("Softmax", (2, 3, 4), (), 11, {"axis": 1}),
    "softmax over the last axis": ("Softmax", (2, 3, 4), (), 11, {"axis": 2}),
    "clip by attributes": ("Clip", PICTURE, (), 9, {"min": -0.5, "max": 0.5}),
    "padding by attributes": ("Pad", PICTURE, (), 9, {"pads": [0, 0, 1, 0, 0, 0, 0, 2], "value": 0.5}),
    "slice by attributes": ("Slice", PICTURE, (), 9, {"starts": [1], "ends": [-1], "axes": [2]}),
    "squeeze by attributes": ("Squeeze", (2, 1, 3), (), 11, {"axes": [1]}),
    "unsqueeze by attributes": ("Unsqueeze", (2, 3), (), 11, {"axes": [0, 3]}),
    "sum by attributes": ("ReduceSum", PICTURE, (), 11, {"axes": [1], "keepdims": 0}),
    "mean by attributes": ("ReduceMean", PICTURE, (), 13, {"axes": [2, 3]}),
    "upsample by attributes": ("Upsample", PICTURE, (), 7, {"scales": [1.0, 1.0, 2.0, 2.0]}),
    "upsample": ("Upsample", PICTURE, (np.float32([1, 1, 2, 2]),), 9, {"mode": "nearest"}),
    "resize": ("Resize", PICTURE, (np.float32([1, 1, 2, 3]),), 10, {"mode": "nearest"}),
    "dropout": ("Dropout", PICTURE, (), 10, {"ratio": 0.5}),
    "batch normalization": ("BatchNormalization", PICTURE, CHANNELS, 7, {}),
}


@pytest.mark.parametrize("case", OLD)
def test_form_of_an_older_operator_set_agrees_with_onnx_runtime(case: str, tmp_path: Path) -> None:
    operator, shape, constants, opset, attributes = OLD[case]
    path = write_model(tmp_path / "model.onnx", operator, shape, constants, opset=opset, **attributes)
    agree(path, np.random.default_rng(1).standard_normal(shape).astype(np.float32))


def test_integers_divide_towards_zero(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.onnx", "Div", (4,), (integers(2),), data_type=TensorProto.INT64)
    agree(path, integers(-3, 3, -4, 5))


def test_group_normalization_scales_channels(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.onnx", "GroupNormalization", PICTURE, CHANNELS[:2], opset=21, num_groups=2)
    values = weights(*PICTURE)
    assert differentiable(agree(path, values), values)


def test_root_mean_square_normalization_agrees_with_its_definition(tmp_path: Path) -> None:
    scale = weights(8)  # no released ONNX Runtime has it on every platform
    path = write_model(tmp_path / "model.onnx", "RMSNormalization", (2, 3, 8), (scale,), opset=23)
    values = weights(2, 3, 8)
    (ours,) = import_onnx(path, name="normalized")(torch.from_numpy(values))
    expected = values / np.sqrt((values**2).mean(axis=-1, keepdims=True) + 1e-5) * scale
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-5)


def test_local_response_of_an_even_size_reaches_further_forwards(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.onnx", "LRN", PICTURE, size=4, alpha=0.5, bias=2.0)  # ONNX Runtime refuses it
    values = weights(*PICTURE)
    squares = np.pad(values**2, ((0, 0), (1, 2), (0, 0), (0, 0)))
    sums = sum(squares[:, shift : shift + 4] for shift in range(4))
    (ours,) = import_onnx(path, name="response")(torch.from_numpy(values))
    np.testing.assert_allclose(ours.numpy(), values / (2.0 + 0.5 / 4 * sums) ** 0.75, rtol=1e-5)


@pytest.mark.skipif(
    "mode" not in onnx.defs.get_schema("SpaceToDepth").attributes, reason="this version of onnx has one order only"
)
def test_space_to_depth_can_number_channels_before_blocks(tmp_path: Path) -> None:
    newest = onnx.defs.get_schema("SpaceToDepth").since_version  # ONNX Runtime does not know it yet
    path = write_model(tmp_path / "model.onnx", "SpaceToDepth", (1, 2, 2, 2), opset=newest, blocksize=2, mode="CRD")
    (output,) = import_onnx(path, name="blocks")(torch.arange(8.0).reshape(1, 2, 2, 2))
    torch.testing.assert_close(output, torch.arange(8.0).reshape(1, 8, 1, 1))


def test_split_gives_its_parts(tmp_path: Path) -> None:
    node = helper.make_node("Split", ["input", "lengths"], ["first", "second"], axis=1)
    path = save_graph(tmp_path, [node], {"lengths": integers(1, 3)}, outputs=["first", "second"])
    agree(path, weights(*PICTURE))


def test_max_pool_gives_indices_into_the_whole_input(tmp_path: Path) -> None:
    node = helper.make_node("MaxPool", ["input"], ["largest", "places"], kernel_shape=[2, 2], strides=[2, 2])
    path = save_graph(tmp_path, [node], {}, outputs=["largest", "places"])
    agree(path, weights(*PICTURE))


@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [0, 1, 2, 0]},
        {"storage_order": 1},
        {"auto_pad": "SAME_LOWER", "storage_order": 1},
        {"pads": [1, 1, 2, 1]},
    ],
    ids=str,
)
def test_indices_of_a_padded_max_pool_agree_with_onnx_runtime(attributes: dict[str, Any], tmp_path: Path) -> None:
    geometry = {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}
    node = helper.make_node("MaxPool", ["input"], ["largest", "places"], **geometry, **attributes)
    agree(save_graph(tmp_path, [node], {}, outputs=["largest", "places"]), weights(*PICTURE))


def test_max_unpool_undoes_max_pool(tmp_path: Path) -> None:
    geometry = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("MaxPool", ["input"], ["largest", "places"], **geometry),
        helper.make_node("MaxUnpool", ["largest", "places"], ["output"], **geometry),
    ]
    path = save_graph(tmp_path, nodes, {}, outputs=["output"])
    assert differentiable(agree(path, weights(2, 3, 4, 6)), weights(1, 2, 4, 4))


def test_last_states_of_a_recurrent_network_agree_with_onnx_runtime(tmp_path: Path) -> None:
    constants = {"weight": weights(2, 12, 4), "recurrence": weights(2, 12, 3), "lengths": LENGTHS}
    nodes = [
        helper.make_node("Squeeze", ["input", "axis"], ["sequence"]),
        helper.make_node(
            "LSTM",
            ["sequence", "weight", "recurrence", "", "lengths"],
            ["", "state", "cell"],
            direction="bidirectional",
            hidden_size=3,
        ),
    ]
    path = save_graph(tmp_path, nodes, {**constants, "axis": integers(0)}, outputs=["state", "cell"])
    assert differentiable(agree(path, weights(1, *SEQUENCE)), weights(1, *SEQUENCE))


def test_moments_of_a_batch_that_are_computed_have_gradients(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["mean"], keepdims=0),
        helper.make_node("BatchNormalization", ["input", "weight", "bias", "mean", "variance"], ["output"]),
    ]
    constants = {"axes": integers(0, 2, 3), "weight": CHANNELS[0], "bias": CHANNELS[1], "variance": CHANNELS[2]}
    path = save_graph(tmp_path, nodes, constants, outputs=["output"])
    assert differentiable(agree(path, weights(*PICTURE)), weights(*PICTURE))


@pytest.mark.parametrize(
    ("operator", "shape", "constants", "attributes", "function"),
    [
        ("Resize", PICTURE, (None, np.float32([1, 1, 2, 2])), {"mode": "linear"}, "interpolate"),
        ("Resize", PICTURE, (None, np.float32([1, 1, 2, 3])), {}, "interpolate"),
        ("Resize", PICTURE, (None, np.float32([1, 1, 0.5, 1.5])), {"mode": "cubic"}, "interpolate"),
        ("InstanceNormalization", PICTURE, CHANNELS[:2], {}, "instance_norm"),
        ("LRN", PICTURE, (), {"size": 5}, "local_response_norm"),
        ("LayerNormalization", (2, 3, 8), (weights(8),), {}, "layer_norm"),
        ("GridSample", PICTURE, (GRID,), {}, "grid_sample"),
    ],
    ids=str,
)
def test_frequent_operators_are_those_of_torch(
    operator: str,
    shape: tuple[int, ...],
    constants: tuple[np.ndarray | None, ...],
    attributes: dict[str, Any],
    function: str,
    tmp_path: Path,
) -> None:
    path = write_model(tmp_path / "model.onnx", operator, shape, constants, **attributes)
    calls = [node for node in import_onnx(path, name="fast").module.graph.nodes if node.op == "call_function"]
    assert [call.target.__name__ for call in calls] == [function]


def test_attention_is_that_of_torch(tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "model.onnx", "Attention", (2, 3, 4, 8), (weights(2, 3, 5, 8), weights(2, 3, 5, 8)), opset=23
    )
    calls = [node for node in import_onnx(path, name="fast").module.graph.nodes if node.op == "call_function"]
    assert [call.target for call in calls] == [torch.nn.functional.scaled_dot_product_attention]


def test_where_chooses_by_a_computed_condition(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Greater", ["input", "bound"], ["condition"]),
        helper.make_node("Where", ["condition", "input", "other"], ["output"]),
    ]
    path = save_graph(tmp_path, nodes, {"bound": np.float32(0), "other": np.float32(-0.5)}, outputs=["output"])
    values = weights(*PICTURE)
    assert differentiable(agree(path, values), values[:1, :2])


def test_shape_arithmetic_follows_the_batch_and_the_picture(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["input"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Gather", ["shape", "three"], ["width"]),
        helper.make_node("Unsqueeze", ["batch", "axes"], ["batch_list"]),
        helper.make_node("Unsqueeze", ["width", "axes"], ["width_list"]),
        helper.make_node("Mul", ["width_list", "two"], ["twice"]),
        helper.make_node("Concat", ["batch_list", "rest", "twice"], ["lengths"], axis=0),
        helper.make_node("Reshape", ["input", "lengths"], ["output"]),
    ]
    constants = {
        "zero": np.int64(0),
        "three": np.int64(3),
        "axes": integers(0),
        "two": integers(2),
        "rest": integers(-1),
    }
    path = save_graph(tmp_path, nodes, constants, outputs=["output"])
    for shape in ((1, 4, 2, 3), (3, 4, 6, 5)):
        graph = agree(path, weights(*shape))
        assert "tensor(" not in graph.module.code  # Python numbers alone
        assert differentiable(graph, weights(*shape))


def test_a_position_grid_is_made_at_run_time(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Shape", ["input"], ["lengths"], start=2),
        helper.make_node("Split", ["lengths"], ["height", "width"], num_outputs=2),
        helper.make_node("Squeeze", ["width"], ["count"]),
        helper.make_node("Range", ["zero", "count", "one"], ["places"]),
        helper.make_node("Cast", ["places"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["input", "numbers"], ["output"]),
    ]
    path = save_graph(tmp_path, nodes, {"zero": np.int64(0), "one": np.int64(1)}, outputs=["output"])
    for shape in ((1, 1, 2, 3), (2, 1, 3, 5)):
        assert differentiable(agree(path, weights(*shape)), weights(*shape))


def save_graph(
    folder: Path, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], *, outputs: list[str]
) -> Path:
    graph = helper.make_graph(
        nodes,
        "several_nodes",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None] * 4)],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = folder / "model.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def test_constants_are_kept_out_of_the_types_of_activations(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.onnx", "Add", PICTURE, (weights(4, 1, 1),))
    graph = import_onnx(path, name="sum").to(dtype=torch.float64)
    (output,) = graph(torch.zeros(PICTURE, dtype=torch.float64))
    assert isinstance(output, Tensor)
    assert output.dtype == torch.float64
