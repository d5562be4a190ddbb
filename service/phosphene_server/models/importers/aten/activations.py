"""Activation functions, softmax, and the dropouts that inference leaves out."""

from typing import Any

import torch
import torch.nn.functional as F

from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator, direct, identity


def _softmax(emit: Emitter, a: Arguments) -> Any:
    # A type asked for is left out: the graph computes in the type of its input throughout.
    return emit.call(F.softmax, a["self"], a["dim"])


def _log_softmax(emit: Emitter, a: Arguments) -> Any:
    return emit.call(F.log_softmax, a["self"], a["dim"])


def _gelu(emit: Emitter, a: Arguments) -> Any:
    return emit.call(F.gelu, a["self"], approximate=a.get("approximate", "none"))


def _elu(emit: Emitter, a: Arguments) -> Any:
    alpha, scale, input_scale = a.get("alpha", 1.0), a.get("scale", 1.0), a.get("input_scale", 1.0)
    if scale == 1 and input_scale == 1:
        return emit.call(F.elu, a["self"], alpha)
    return emit.call(torch.ops.aten.elu.default, a["self"], alpha, scale, input_scale)  # SELU and CELU, decomposed


def _native_dropout(emit: Emitter, a: Arguments) -> Any:
    return a["input"], None


OPERATORS: dict[str, Operator] = {
    "relu": direct("relu", F.relu, "self"),
    "relu6": direct("relu6", F.relu6, "self"),
    "hardtanh": direct("hard_tanh", F.hardtanh, "self", "min_val", "max_val"),
    "leaky_relu": direct("leaky_relu", F.leaky_relu, "self", "negative_slope"),
    "prelu": direct("prelu", F.prelu, "self", "weight"),
    "_prelu_kernel": direct("prelu", F.prelu, "self", "weight"),
    "rrelu": Operator("leaky_relu", lambda emit, a: emit.call(F.leaky_relu, a["self"], (a["lower"] + a["upper"]) / 2)),
    "elu": Operator("elu", _elu),
    "celu": direct("celu", F.celu, "self", "alpha"),
    "selu": direct("selu", F.selu, "self"),
    "gelu": Operator("gelu", _gelu),
    "silu": direct("swish", F.silu, "self"),
    "mish": direct("mish", F.mish, "self"),
    "hardswish": direct("hard_swish", F.hardswish, "self"),
    "hardsigmoid": direct("hard_sigmoid", F.hardsigmoid, "self"),
    "sigmoid": direct("sigmoid", torch.sigmoid, "self"),
    "log_sigmoid": direct("log_sigmoid", F.logsigmoid, "self"),
    "tanh": direct("tanh", torch.tanh, "self"),
    "softplus": direct("softplus", F.softplus, "self", "beta", "threshold"),
    "hardshrink": direct("hard_shrink", F.hardshrink, "self", "lambd"),
    "softshrink": direct("soft_shrink", F.softshrink, "self", "lambd"),
    "threshold": direct("threshold", F.threshold, "self", "threshold", "value"),
    "glu": direct("glu", F.glu, "self", "dim"),
    "softmax": Operator("softmax", _softmax),
    "_softmax": Operator("softmax", _softmax),
    "log_softmax": Operator("log_softmax", _log_softmax),
    "_log_softmax": Operator("log_softmax", _log_softmax),
    "dropout": identity("dropout"),
    "feature_dropout": identity("dropout"),
    "alpha_dropout": identity("dropout"),
    "feature_alpha_dropout": identity("dropout"),
    "native_dropout": Operator("dropout", _native_dropout),
}
