"""Operations in which elements of an axis see one another: products, attention, reductions, normalization, softmax."""

from collections.abc import Sequence

from phosphene_server.models.receptive_fields.layout import Direction, Layout, free_axis
from phosphene_server.models.receptive_fields.reach import Reach, united
from phosphene_server.models.receptive_fields.rules.call import Call, Rule
from phosphene_server.models.receptive_fields.sight import (
    Sight,
    anywhere,
    combined,
    consistent,
    constant,
    mixed,
    reduced,
)


def elementwise(call: Call) -> Sight:
    """An operation on elements in the same places."""
    return combined(call.sights(), call.shape)


def unary(call: Call) -> Sight:
    """An operation that keeps the places of its first argument; what else it reads does not depend on the picture."""
    return call.find(call.tensors()[0])


def created(call: Call) -> Sight:
    """A tensor that is made without reading what its argument holds."""
    return constant(call.shape)


def reduction(call: Call) -> Sight:
    """A reduction of some axes, or of all; those of the named ones stay with length 1 if asked."""
    sight = call.sight("self")
    wanted = call.arguments.get("dim")
    axes = [wanted] if isinstance(wanted, int) else wanted or range(len(sight.layout))
    return reduced(sight, [axis % max(len(sight.layout), 1) for axis in axes], keep=bool(call.arguments.get("keepdim")))


def along_axis(call: Call) -> Sight:
    """An operation in which all elements of an axis see one another, for example softmax."""
    sight = call.sight("self")
    return mixed(sight, [call["dim"] % max(len(sight.layout), 1)])


def layer_normalization(call: Call) -> Sight:
    """Normalization over the last axes."""
    sight = call.sight("input")
    return mixed(sight, range(len(sight.layout) - len(call["normalized_shape"]), len(sight.layout)))


def group_normalization(call: Call) -> Sight:
    """Normalization of groups of channels over all places."""
    sight = call.sight("input")
    return mixed(sight, range(1, len(sight.layout)))


def batch_normalization(call: Call) -> Sight:
    """Normalization by statistics of the training, or of the batch: instance normalization is written so."""
    sight = call.sight("input")
    measuring = call.arguments.get("training") or call.arguments.get("train")
    return mixed(sight, [axis for axis in range(len(sight.layout)) if axis != 1]) if measuring else sight


def gated_linear_unit(call: Call) -> Sight:
    """One half of an axis gates the other."""
    sight, axis = call.sight("self"), call["dim"] % len(call.shape)
    if not sight.is_free(axis):
        return anywhere(call.shape, [sight])
    layout = list(sight.layout)
    layout[axis] = free_axis(call.shape[axis])
    return Sight(tuple(layout), sight.reaches)


def product(first: str, second: str) -> Rule:
    """Make the rule of a product of matrices, (..., rows, inner) by (..., inner, columns)."""

    def rule(call: Call) -> Sight:
        left, right = call.sight(first), call.sight(second)
        joined = multiplied(left, right, call.shape)
        rest = [
            call.find(tensor) for tensor in call.tensors() if tensor is not call[first] and tensor is not call[second]
        ]
        return combined([joined, *rest], call.shape)

    return rule


def multiplied(left: Sight, right: Sight, shape: Sequence[int]) -> Sight:
    """Return what a product of matrices sees: along the inner axis all, along the outer one what its own rows see.

    Where both factors see the picture, as in attention, the columns lose their places: a column of queries by keys
    belongs to a token, but so does its row, and nothing else reads one column alone.
    """
    if not left.reaches or not right.reaches:
        return _multiplied_by_constant(left, right, shape)
    left = mixed(left, [len(left.layout) - 1])
    right = mixed(right, [len(right.layout) - 2, len(right.layout) - 1])
    layout: Layout = (*left.layout[:-1], free_axis(shape[-1]))
    reaches: dict[Direction, Reach] = dict(left.reaches)
    for direction, reach in right.reaches.items():
        reaches[direction] = united(reaches[direction], reach) if direction in reaches else reach
    return consistent(layout, reaches)


def _multiplied_by_constant(left: Sight, right: Sight, shape: Sequence[int]) -> Sight:
    if left.reaches:
        sight = reduced(left, [len(left.layout) - 1], keep=True)
        return Sight((*sight.layout[:-1], free_axis(shape[-1])), sight.reaches)
    if right.reaches:
        sight = reduced(right, [len(right.layout) - 2], keep=True)
        return Sight((*sight.layout[:-2], free_axis(shape[-2]), sight.layout[-1]), sight.reaches)
    return constant(shape)


def matrix_by_vector(call: Call) -> Sight:
    """A product that leaves out an axis; only that of constants has places."""
    return anywhere(call.shape, call.sights())


def attention(call: Call) -> Sight:
    """Scaled dot-product attention: every query sees all keys and values of its batch and head."""
    query = call.sight("query")
    query = mixed(query, [len(query.layout) - 1])
    sources = [call.sight("key"), call.sight("value")]
    reaches: dict[Direction, Reach] = dict(query.reaches)
    for source in sources:
        seen = mixed(source, [len(source.layout) - 2, len(source.layout) - 1])
        for direction, reach in seen.reaches.items():
            reaches[direction] = united(reaches[direction], reach) if direction in reaches else reach
    layout: Layout = (*query.layout[:-1], free_axis(call.shape[-1]))
    return consistent(layout, reaches)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("sum", "mean", "amax", "amin", "max", "min", "prod", "any", "all"), reduction),
    **dict.fromkeys(("argmax", "argmin", "logsumexp", "var", "std", "var_mean", "std_mean", "median"), reduction),
    **dict.fromkeys(("linalg_vector_norm", "norm", "count_nonzero", "nansum", "mode"), reduction),
    **dict.fromkeys(("_softmax", "_log_softmax", "softmax", "log_softmax"), along_axis),
    **dict.fromkeys(("cumsum", "cumprod", "logcumsumexp", "cummax", "cummin", "sort"), along_axis),
    "native_layer_norm": layer_normalization,
    "native_group_norm": group_normalization,
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit_no_training"), batch_normalization),
    **dict.fromkeys(("_native_batch_norm_legit", "cudnn_batch_norm", "_batch_norm_with_update"), batch_normalization),
    "glu": gated_linear_unit,
    "mm": product("self", "mat2"),
    "bmm": product("self", "mat2"),
    "addmm": product("mat1", "mat2"),
    "baddbmm": product("batch1", "batch2"),
    "mv": matrix_by_vector,
    "dot": matrix_by_vector,
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
            "_scaled_dot_product_attention_math",
        ),
        attention,
    ),
    **dict.fromkeys(("_to_copy", "clone", "detach", "alias", "lift_fresh", "lift_fresh_copy", "contiguous"), unary),
    **dict.fromkeys(("native_dropout", "hardswish", "_prelu_kernel", "log_sigmoid_forward"), unary),
    **dict.fromkeys(("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"), created),
    **dict.fromkeys(("new_zeros", "new_ones", "new_full", "new_empty", "fill", "zero"), created),
}
"""By the operator's name without namespace and overload; operators that torch tags as pointwise need no row."""
