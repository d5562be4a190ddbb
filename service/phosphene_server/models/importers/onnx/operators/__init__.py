"""The operators that the importer knows: a table from each to the kind of layer and the handler.

A handler reads an `Operation` and returns its outputs. It emits functional torch operations, preferably those of
`torch.nn.functional`, so that what rewrites graphs recognises them; where torch has no such operation, a function of
the handler's own file. Adding an operator is a function, a row here, and a test against ONNX Runtime.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F

from phosphene_server.models.importers.onnx import sizes
from phosphene_server.models.importers.onnx.operators import (
    activation,
    constant,
    convolution,
    elementwise,
    indexing,
    matrix,
    normalization,
    padding,
    pooling,
    reduction,
    resizing,
    shape,
)
from phosphene_server.models.importers.onnx.operators.elementwise import Handler, binary, unary, variadic


class Operator(NamedTuple):
    """A row of the table: what the layer table calls it, and what translates it."""

    kind: str
    handler: Handler


OPERATORS: Mapping[str, Operator] = {
    # Convolution and pooling
    "Conv": Operator("convolution", convolution.convolution),
    "ConvTranspose": Operator("transposed_convolution", convolution.transposed_convolution),
    "MaxPool": Operator("max_pool", pooling.max_pool),
    "AveragePool": Operator("average_pool", pooling.average_pool),
    "LpPool": Operator("lp_pool", pooling.lp_pool),
    "GlobalMaxPool": Operator("global_max_pool", pooling.global_max_pool),
    "GlobalAveragePool": Operator("global_average_pool", pooling.global_average_pool),
    "GlobalLpPool": Operator("global_lp_pool", pooling.global_lp_pool),
    # Matrices
    "Gemm": Operator("matrix_product", matrix.general_product),
    "MatMul": Operator("matrix_product", matrix.matrix_product),
    "Einsum": Operator("einsum", matrix.einsum),
    "Det": Operator("determinant", matrix.determinant),
    # Normalization
    "BatchNormalization": Operator("batch_normalization", normalization.batch_normalization),
    "LayerNormalization": Operator("layer_normalization", normalization.layer_normalization),
    "InstanceNormalization": Operator("instance_normalization", normalization.instance_normalization),
    "GroupNormalization": Operator("group_normalization", normalization.group_normalization),
    "RMSNormalization": Operator("rms_normalization", normalization.rms_normalization),
    "LRN": Operator("local_response_normalization", normalization.local_response_normalization),
    "LpNormalization": Operator("lp_normalization", normalization.lp_normalization),
    "MeanVarianceNormalization": Operator("standardization", normalization.mean_variance_normalization),
    # Activations
    "Relu": Operator("relu", unary(F.relu)),
    "Clip": Operator("clip", activation.clip),
    "LeakyRelu": Operator("leaky_relu", activation.leaky_relu),
    "PRelu": Operator("prelu", activation.prelu),
    "ThresholdedRelu": Operator("thresholded_relu", activation.thresholded_relu),
    "Elu": Operator("elu", activation.elu),
    "Celu": Operator("celu", activation.celu),
    "Selu": Operator("selu", activation.selu),
    "Gelu": Operator("gelu", activation.gelu),
    "Sigmoid": Operator("sigmoid", unary(torch.sigmoid)),
    "HardSigmoid": Operator("hard_sigmoid", activation.hard_sigmoid),
    "HardSwish": Operator("hard_swish", unary(F.hardswish)),
    "Swish": Operator("swish", activation.swish),
    "Mish": Operator("mish", unary(F.mish)),
    "Tanh": Operator("tanh", unary(torch.tanh)),
    "Softplus": Operator("softplus", unary(F.softplus)),
    "Softsign": Operator("softsign", unary(F.softsign)),
    "Shrink": Operator("shrink", activation.shrink),
    "Softmax": Operator("softmax", activation.softmax),
    "LogSoftmax": Operator("log_softmax", activation.log_softmax),
    # Arithmetic
    "Add": Operator("addition", binary(torch.add)),
    "Sub": Operator("subtraction", binary(torch.sub)),
    "Mul": Operator("multiplication", binary(torch.mul)),
    "Div": Operator("division", elementwise.divide),
    "Mod": Operator("remainder", elementwise.modulo),
    "Pow": Operator("power", elementwise.power),
    "Sum": Operator("addition", variadic(torch.add)),
    "Mean": Operator("mean", elementwise.mean),
    "Max": Operator("maximum", variadic(torch.maximum)),
    "Min": Operator("minimum", variadic(torch.minimum)),
    "Abs": Operator("absolute_value", unary(torch.abs)),
    "Neg": Operator("negation", unary(torch.neg)),
    "Sign": Operator("sign", unary(torch.sign)),
    "Reciprocal": Operator("reciprocal", unary(torch.reciprocal)),
    "Sqrt": Operator("square_root", unary(torch.sqrt)),
    "Exp": Operator("exponential", unary(torch.exp)),
    "Log": Operator("logarithm", unary(torch.log)),
    "Erf": Operator("error_function", unary(torch.erf)),
    "Floor": Operator("floor", unary(torch.floor)),
    "Ceil": Operator("ceiling", unary(torch.ceil)),
    "Round": Operator("rounding", unary(torch.round)),
    "Sin": Operator("sine", unary(torch.sin)),
    "Cos": Operator("cosine", unary(torch.cos)),
    "Tan": Operator("tangent", unary(torch.tan)),
    "Asin": Operator("arcsine", unary(torch.asin)),
    "Acos": Operator("arccosine", unary(torch.acos)),
    "Atan": Operator("arctangent", unary(torch.atan)),
    "Sinh": Operator("hyperbolic_sine", unary(torch.sinh)),
    "Cosh": Operator("hyperbolic_cosine", unary(torch.cosh)),
    "Asinh": Operator("inverse_hyperbolic_sine", unary(torch.asinh)),
    "Acosh": Operator("inverse_hyperbolic_cosine", unary(torch.acosh)),
    "Atanh": Operator("inverse_hyperbolic_tangent", unary(torch.atanh)),
    # Comparison, logic and types
    "Equal": Operator("comparison", binary(torch.eq)),
    "Greater": Operator("comparison", binary(torch.gt)),
    "GreaterOrEqual": Operator("comparison", binary(torch.ge)),
    "Less": Operator("comparison", binary(torch.lt)),
    "LessOrEqual": Operator("comparison", binary(torch.le)),
    "And": Operator("logic", binary(torch.logical_and)),
    "Or": Operator("logic", binary(torch.logical_or)),
    "Xor": Operator("logic", binary(torch.logical_xor)),
    "Not": Operator("logic", unary(torch.logical_not)),
    "IsNaN": Operator("comparison", unary(torch.isnan)),
    "Where": Operator("selection", elementwise.where),
    "Cast": Operator("cast", elementwise.cast),
    "CastLike": Operator("cast", elementwise.cast_like),
    # Reductions
    "ReduceMean": Operator("mean", reduction.reduce),
    "ReduceSum": Operator("sum", reduction.reduce),
    "ReduceMax": Operator("maximum", reduction.reduce),
    "ReduceMin": Operator("minimum", reduction.reduce),
    "ReduceProd": Operator("product", reduction.reduce),
    "ReduceL1": Operator("norm", reduction.reduce),
    "ReduceL2": Operator("norm", reduction.reduce),
    "ReduceLogSum": Operator("log_sum", reduction.reduce),
    "ReduceLogSumExp": Operator("log_sum_exp", reduction.reduce),
    "ReduceSumSquare": Operator("square_sum", reduction.reduce),
    "ArgMax": Operator("argument", reduction.arg_max),
    "ArgMin": Operator("argument", reduction.arg_min),
    "CumSum": Operator("cumulative_sum", reduction.cumulative_sum),
    # Axes
    "Identity": Operator("identity", shape.identity),
    "Dropout": Operator("dropout", shape.dropout),
    "Reshape": Operator("reshape", shape.reshape),
    "Flatten": Operator("flatten", shape.flatten),
    "Squeeze": Operator("reshape", shape.squeeze),
    "Unsqueeze": Operator("reshape", shape.unsqueeze),
    "Transpose": Operator("transposition", shape.transpose),
    "Expand": Operator("expansion", shape.expand),
    "Tile": Operator("tiling", shape.tile),
    "Concat": Operator("concatenation", shape.concatenate),
    "DepthToSpace": Operator("depth_to_space", shape.depth_to_space),
    "SpaceToDepth": Operator("space_to_depth", shape.space_to_depth),
    "Pad": Operator("padding", padding.pad),
    "Resize": Operator("resizing", resizing.resize),
    "Upsample": Operator("resizing", resizing.upsample),
    # Elements
    "Slice": Operator("slice", indexing.slices),
    "Split": Operator("split", indexing.split),
    "Gather": Operator("gather", indexing.gather),
    "GatherElements": Operator("gather", indexing.gather_elements),
    "GatherND": Operator("gather", indexing.gather_nd),
    "ScatterND": Operator("scatter", indexing.scatter_nd),
    "Trilu": Operator("triangle", indexing.triangle),
    "TopK": Operator("top_k", indexing.top_k),
    "OneHot": Operator("one_hot", indexing.one_hot),
    "NonZero": Operator("non_zero", indexing.non_zero),
    # Numbers
    "Constant": Operator("constant", constant.constant),
    "ConstantOfShape": Operator("constant", constant.constant_of_shape),
    "Range": Operator("range", constant.number_range),
    "Shape": Operator("shape", sizes.shape),
    "Size": Operator("shape", sizes.volume),
}
"""ONNX operator -> kind and handler, of the domain ai.onnx, opset 7 to the newest."""
