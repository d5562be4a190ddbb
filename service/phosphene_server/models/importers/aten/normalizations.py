"""Normalizations, as they are in inference: a batch normalization with running statistics uses them."""

from typing import Any

import torch
import torch.nn.functional as F

from phosphene_server.models.importers.aten.emitter import Emitter
from phosphene_server.models.importers.aten.operators import Arguments, Operator, direct


def _batch_norm(emit: Emitter, a: Arguments) -> Any:
    """Write a batch normalization.

    A file saved in training mode is read as `eval()` would leave it; only a layer that keeps no statistics takes
    those of the batch, as it does everywhere.
    """
    mean, variance = a.get("running_mean"), a.get("running_var")
    return emit.call(
        F.batch_norm, a["input"], mean, variance, a.get("weight"), a.get("bias"), mean is None, a["momentum"], a["eps"]
    )


def _batch_norm_with_statistics(emit: Emitter, a: Arguments) -> Any:
    """Write a form that also returns the statistics of the batch, which inference does not look at."""
    epsilon = a["eps"] if "eps" in a else a["epsilon"]
    return _batch_norm(emit, {**a, "eps": epsilon}), None, None


def _weight_norm(emit: Emitter, a: Arguments) -> Any:
    return emit.call(torch._weight_norm, a["v"], a["g"], a.get("dim", 0))


def _instance_norm(emit: Emitter, a: Arguments) -> Any:
    mean, variance = a.get("running_mean"), a.get("running_var")
    return emit.call(
        F.instance_norm,
        a["input"],
        mean,
        variance,
        a.get("weight"),
        a.get("bias"),
        mean is None,
        a["momentum"],
        a["eps"],
    )


def _group_norm_of_sizes(emit: Emitter, a: Arguments) -> Any:
    """Write the decomposed form, which names the sizes N, C and HxW and also returns the statistics."""
    result = emit.call(F.group_norm, a["input"], a["group"], a.get("weight"), a.get("bias"), a["eps"])
    return result, None, None


def _layer_norm_with_statistics(emit: Emitter, a: Arguments) -> Any:
    result = emit.call(F.layer_norm, a["input"], a["normalized_shape"], a.get("weight"), a.get("bias"), a["eps"])
    return result, None, None


OPERATORS: dict[str, Operator] = {
    "batch_norm": Operator("batch_normalization", _batch_norm),
    "_native_batch_norm_legit_no_training": Operator(
        "batch_normalization", lambda emit, arguments: (_batch_norm(emit, arguments), None, None)
    ),
    "_native_batch_norm_legit": Operator("batch_normalization", _batch_norm_with_statistics),
    "native_batch_norm": Operator("batch_normalization", _batch_norm_with_statistics),
    "_weight_norm": Operator("weight_normalization", _weight_norm),
    "_weight_norm_interface": Operator("weight_normalization", lambda emit, a: (_weight_norm(emit, a), None)),
    "instance_norm": Operator("instance_normalization", _instance_norm),
    "layer_norm": direct("layer_normalization", F.layer_norm, "input", "normalized_shape", "weight", "bias", "eps"),
    "native_layer_norm": Operator("layer_normalization", _layer_norm_with_statistics),
    "group_norm": direct("group_normalization", F.group_norm, "input", "num_groups", "weight", "bias", "eps"),
    "native_group_norm": Operator("group_normalization", _group_norm_of_sizes),
    "rms_norm": direct("rms_normalization", torch.rms_norm, "input", "normalized_shape", "weight", "eps"),
}
