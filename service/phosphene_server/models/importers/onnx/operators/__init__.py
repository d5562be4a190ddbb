"""The operators that the importer knows: a table from each to the kind of layer and the handler.

A handler reads an `Operation` and returns its outputs. It emits functional torch operations, preferably those of
`torch.nn.functional`, so that what rewrites graphs recognises them; where torch has no such operation, a function of
the handler's own file.

To add an operator:

1. A handler in the file of its family, with the operator's name and what is special as its docstring. Inputs that must
   be numbers at import are asked for by `known...`; where a file computes them, the node is translated late instead.
2. A row in OPERATORS below: its kind is what the layer table calls it. Shape arithmetic in it goes to sizes.py too.
3. Tests: ONNX's node tests of it leave `onnx_node_test_failures.txt`, which lists what is expected to fail; a test
   against ONNX Runtime of what they do not cover. `test_onnx_gradients.py` checks every row that takes and gives
   floating-point numbers by itself: where no node test can be differentiated it wants a case in FURTHER, and where
   there is no gradient a reason in WITHOUT_GRADIENT.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F

from phosphene_server.models.importers.onnx import sizes
from phosphene_server.models.importers.onnx.operation import Handler
from phosphene_server.models.importers.onnx.operators import (
    activation,
    attention,
    bitwise,
    casting,
    constant,
    control_flow,
    convolution,
    detection,
    elementwise,
    folding,
    indexing,
    losses,
    matrix,
    normalization,
    padding,
    pooling,
    quantization,
    random_numbers,
    recurrence,
    reduction,
    regions,
    resizing,
    sampling,
    scan,
    scattering,
    sequence,
    shape,
    spectral,
    text,
)
from phosphene_server.models.importers.onnx.operators.elementwise import arithmetic, binary, unary, variadic


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
    "MaxUnpool": Operator("max_unpool", folding.max_unpool),
    "Col2Im": Operator("folding", folding.columns_to_image),
    "DeformConv": Operator("deformable_convolution", sampling.deformable_convolution),
    # Regions and positions
    "GridSample": Operator("sampling", sampling.grid_sample),
    "AffineGrid": Operator("positions", sampling.affine_grid),
    "RoiAlign": Operator("region_pool", regions.region_align),
    "MaxRoiPool": Operator("region_pool", regions.max_region_pool),
    # Matrices
    "Gemm": Operator("matrix_product", matrix.general_product),
    "MatMul": Operator("matrix_product", matrix.matrix_product),
    "Einsum": Operator("einsum", matrix.einsum),
    "Det": Operator("determinant", matrix.determinant),
    # Attention
    "Attention": Operator("attention", attention.attention),
    "RotaryEmbedding": Operator("rotation", attention.rotary_embedding),
    # Recurrent networks
    "RNN": Operator("recurrent", recurrence.recurrent),
    "GRU": Operator("recurrent", recurrence.recurrent),
    "LSTM": Operator("recurrent", recurrence.recurrent),
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
    "Hardmax": Operator("hardmax", activation.hardmax),
    "SwiGLU": Operator("gated_swish", activation.gated_swish),
    # Arithmetic
    "Add": Operator("addition", arithmetic(torch.add)),
    "Sub": Operator("subtraction", arithmetic(torch.sub)),
    "Mul": Operator("multiplication", arithmetic(torch.mul)),
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
    "IsInf": Operator("comparison", elementwise.is_infinite),
    "BitwiseAnd": Operator("bitwise", bitwise.bitwise(torch.bitwise_and)),
    "BitwiseOr": Operator("bitwise", bitwise.bitwise(torch.bitwise_or)),
    "BitwiseXor": Operator("bitwise", bitwise.bitwise(torch.bitwise_xor)),
    "BitwiseNot": Operator("bitwise", bitwise.bitwise_not),
    "BitShift": Operator("bitwise", bitwise.bit_shift),
    "Where": Operator("selection", elementwise.where),
    "Cast": Operator("cast", casting.cast),
    "CastLike": Operator("cast", casting.cast_like),
    "BitCast": Operator("cast", casting.bit_cast),
    # Quantization
    "QuantizeLinear": Operator("quantization", quantization.quantize_linear),
    "DequantizeLinear": Operator("dequantization", quantization.dequantize_linear),
    "DynamicQuantizeLinear": Operator("quantization", quantization.dynamic_quantize_linear),
    "QLinearConv": Operator("convolution", quantization.quantized_convolution),
    "QLinearMatMul": Operator("matrix_product", quantization.quantized_matrix_product),
    "ConvInteger": Operator("convolution", quantization.integer_convolution),
    "MatMulInteger": Operator("matrix_product", quantization.integer_matrix_product),
    # Spectra
    "DFT": Operator("fourier_transform", spectral.fourier_transform),
    "STFT": Operator("fourier_transform", spectral.short_time_fourier_transform),
    "HannWindow": Operator("window", spectral.window(spectral.HANN)),
    "HammingWindow": Operator("window", spectral.window(spectral.HAMMING)),
    "BlackmanWindow": Operator("window", spectral.window(spectral.BLACKMAN)),
    "MelWeightMatrix": Operator("mel_weights", spectral.mel_weight_matrix),
    # Losses, detection and text
    "NegativeLogLikelihoodLoss": Operator("loss", losses.negative_log_likelihood_loss),
    "SoftmaxCrossEntropyLoss": Operator("loss", losses.softmax_cross_entropy_loss),
    "NonMaxSuppression": Operator("suppression", detection.non_maximum_suppression),
    "TfIdfVectorizer": Operator("token_counts", text.tfidf_vectorizer),
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
    "CumProd": Operator("cumulative_product", reduction.cumulative_product),
    "CumSum": Operator("cumulative_sum", reduction.cumulative_sum),
    # Axes
    "Identity": Operator("identity", shape.identity),
    "Dropout": Operator("dropout", random_numbers.dropout),
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
    "CenterCropPad": Operator("padding", padding.center_crop_pad),
    "Resize": Operator("resizing", resizing.resize),
    "Upsample": Operator("resizing", resizing.upsample),
    # Elements
    "Slice": Operator("slice", indexing.slices),
    "Split": Operator("split", indexing.split),
    "Gather": Operator("gather", indexing.gather),
    "GatherElements": Operator("gather", indexing.gather_elements),
    "GatherND": Operator("gather", indexing.gather_nd),
    "Scatter": Operator("scatter", scattering.scatter_elements),
    "ScatterElements": Operator("scatter", scattering.scatter_elements),
    "ScatterND": Operator("scatter", scattering.scatter_nd),
    "TensorScatter": Operator("scatter", scattering.tensor_scatter),
    "Trilu": Operator("triangle", indexing.triangle),
    "TopK": Operator("top_k", indexing.top_k),
    "OneHot": Operator("one_hot", indexing.one_hot),
    "NonZero": Operator("non_zero", indexing.non_zero),
    "Compress": Operator("selection", indexing.compress),
    "ReverseSequence": Operator("reversal", indexing.reverse_sequence),
    "Unique": Operator("unique", indexing.unique),
    # Numbers
    "Constant": Operator("constant", constant.constant),
    "ConstantOfShape": Operator("constant", constant.constant_of_shape),
    "Range": Operator("range", constant.number_range),
    "EyeLike": Operator("constant", constant.eye_like),
    "RandomNormal": Operator("random_numbers", random_numbers.random_normal),
    "RandomNormalLike": Operator("random_numbers", random_numbers.random_normal_like),
    "RandomUniform": Operator("random_numbers", random_numbers.random_uniform),
    "RandomUniformLike": Operator("random_numbers", random_numbers.random_uniform_like),
    "Bernoulli": Operator("random_numbers", random_numbers.bernoulli),
    "Multinomial": Operator("random_numbers", random_numbers.multinomial),
    "Shape": Operator("shape", sizes.shape),
    "Size": Operator("shape", sizes.volume),
    # Control flow
    "If": Operator("branch", control_flow.conditional),
    "Loop": Operator("loop", control_flow.loop),
    "Scan": Operator("loop", scan.scan),
    # Sequences and optional values
    "SequenceConstruct": Operator("sequence", sequence.sequence_construct),
    "SequenceEmpty": Operator("sequence", sequence.sequence_empty),
    "SequenceLength": Operator("sequence", sequence.sequence_length),
    "SequenceAt": Operator("sequence", sequence.sequence_at),
    "SequenceInsert": Operator("sequence", sequence.sequence_insert),
    "SequenceErase": Operator("sequence", sequence.sequence_erase),
    "SplitToSequence": Operator("split", sequence.split_to_sequence),
    "ConcatFromSequence": Operator("concatenation", sequence.concat_from_sequence),
    "Optional": Operator("optional", sequence.optional),
    "OptionalHasElement": Operator("optional", sequence.optional_has_element),
    "OptionalGetElement": Operator("optional", sequence.optional_get_element),
}
"""ONNX operator -> kind and handler, of the domain ai.onnx, opset 7 to the newest."""
