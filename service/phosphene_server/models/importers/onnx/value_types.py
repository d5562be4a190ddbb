"""What is known of ONNX values before they are computed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from onnx import TypeProto


@dataclass(frozen=True)
class ValueType:
    """The type of a value.

    Lengths are those of the shapes that the file declares; the graph must not rely on them, since it is evaluated at
    other batch and picture sizes too. Element types and ranks are reliable.
    """

    element_type: int
    """TensorProto.UNDEFINED if it is unknown."""
    shape: tuple[int | None, ...] | None
    """Lengths as the file gives or implies them, None where unknown; None if even the rank is unknown."""
    is_tensor: bool = True
    """False for a sequence or an optional."""


def value_types(types: Mapping[str, TypeProto]) -> Mapping[str, ValueType]:
    """Return what handlers need of types."""
    return {name: type_of(inferred) for name, inferred in types.items()}


def type_of(value: TypeProto) -> ValueType:
    """Return the type of a value; of a sequence or an optional the element type alone, if it holds tensors."""
    kind = value.WhichOneof("value")
    if kind == "sequence_type":
        return replace(type_of(value.sequence_type.elem_type), shape=None, is_tensor=False)
    if kind == "optional_type":
        return replace(type_of(value.optional_type.elem_type), shape=None, is_tensor=False)
    tensor = value.tensor_type
    if not tensor.HasField("shape"):
        return ValueType(tensor.elem_type, None)
    lengths = tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim)
    return ValueType(tensor.elem_type, lengths)
