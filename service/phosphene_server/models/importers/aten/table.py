"""The table of all aten operators that the importers know, by family."""

from collections.abc import Mapping

from phosphene_server.models.importers.aten import (
    activations,
    arithmetic,
    attention,
    convolutions,
    creation,
    fourier,
    indexing,
    joining,
    linear_algebra,
    matrix_products,
    normalizations,
    pooling,
    quantization,
    recurrent,
    reductions,
    resizing,
    shapes,
    special_functions,
    statistics,
)
from phosphene_server.models.importers.aten.operators import Operator

OPERATORS: Mapping[str, Operator] = {
    **convolutions.OPERATORS,
    **matrix_products.OPERATORS,
    **normalizations.OPERATORS,
    **activations.OPERATORS,
    **pooling.OPERATORS,
    **arithmetic.OPERATORS,
    **reductions.OPERATORS,
    **attention.OPERATORS,
    **resizing.OPERATORS,
    **shapes.OPERATORS,
    **creation.OPERATORS,
    **indexing.OPERATORS,
    **fourier.OPERATORS,
    **joining.OPERATORS,
    **linear_algebra.OPERATORS,
    **statistics.OPERATORS,
    **special_functions.OPERATORS,
    **recurrent.OPERATORS,
}
"""Rows by the operator's name without namespace, overload and the underscore of the in-place form."""

# Other names of the same operators.
SYNONYMS: Mapping[str, str] = {
    "_unsafe_index": "index",
    "_unsafe_index_put": "index_put",
    "absolute": "abs",
    "clip": "clamp",
    "concat": "cat",
    "concatenate": "cat",
    "divide": "div",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "multiply": "mul",
    "negative": "neg",
    "not_equal": "ne",
    "subtract": "sub",
    "moveaxis": "movedim",
    "swapdims": "transpose",
    "unsafe_chunk": "chunk",
    "unsafe_split": "split",
    "unsafe_split_with_sizes": "split_with_sizes",
}


def find_operator(name: str) -> Operator | None:
    """Return the row of an operator, None where the table has none.

    Args:
        name: The aten name without namespace and overload; `relu_` is found as `relu`. Names with another namespace
            than aten have it: `quantized_decomposed.quantize_per_tensor`.
    """
    return OPERATORS.get(functional_name(name)) or quantization.OPERATORS.get(name)


def functional_name(name: str) -> str:
    """Return the name in the table of the operator that does the same without writing to its argument."""
    plain = name[:-1] if is_in_place(name) else name
    return SYNONYMS.get(plain, plain)


def is_in_place(name: str) -> bool:
    """Whether an operator writes to its first argument: its name ends in one underscore."""
    return name.endswith("_") and not name.endswith("__")
