"""What one ONNX node comes with: attributes and inputs, as far as they are known at import."""

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import AttributeProto, NodeProto, TensorProto, helper
from torch import Tensor

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.onnx.tensors import ELEMENT_TYPES, FLOATING, read_tensor
from phosphene_server.models.importers.onnx.value_types import ValueType
from phosphene_server.models.importers.onnx.values import Sizes, Value


class KnownAtRunTime(Exception):
    """A handler needs something that only an evaluation knows; its node is then translated at evaluation (late.py)."""

    def __init__(self, detail: str, index: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        """What is not known, as a phrase: `axes that are computed at run time`."""
        self.index = index
        """The input whose values are needed; None where its rank or shape is enough."""


class Arguments:
    """The attributes and inputs of one node. What is asked for as `known` is there, or the node is translated later."""

    def __init__(
        self,
        node: NodeProto,
        inputs: Sequence[Value | None],
        types: Sequence[ValueType | None],
        *,
        opset: int,
        model: str,
    ) -> None:
        self.node = node
        self.inputs = tuple(inputs)
        self.types = tuple(types)
        """What is known of the inputs."""
        self.opset = opset
        self.model = model
        """The name of the model, for errors."""
        self._attributes: Mapping[str, AttributeProto] = {attribute.name: attribute for attribute in node.attribute}

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute as a Python value, strings decoded and tensors in torch."""
        if name not in self._attributes:
            return default
        value = helper.get_attribute_value(self._attributes[name])
        if isinstance(value, bytes):
            return value.decode("utf-8")
        if isinstance(value, TensorProto):
            return read_tensor(value)
        return list(value) if self._attributes[name].type == AttributeProto.INTS else value

    def input(self, index: int) -> Value | None:
        """Return an input as it is; None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int) -> Tensor | None:
        """Return an input that is known at import, else None."""
        value = self.input(index)
        return value if isinstance(value, Tensor) else None

    def known(self, index: int) -> Tensor:
        """Return an input that the handler needs as a constant.

        Raises:
            ValueError: the input is left out.
            KnownAtRunTime: it is computed at run time; the handler will be called again then, and must not catch this.
        """
        value = self.input(index)
        if value is None:
            raise ValueError(f"input {index} is missing")
        if not isinstance(value, Tensor):
            raise KnownAtRunTime(f"an input {index} that is computed at run time", index)
        return value

    def known_numbers(self, index: int, attribute: str = "") -> list[Any] | None:
        """Return a shape-like input as numbers that are all known; None where it is left out.

        Args:
            index: The input.
            attribute: The attribute that older operator sets have instead; it wins where a node has it.

        Raises:
            KnownAtRunTime: they are computed at run time; the handler will be called again then.
        """
        if attribute in self._attributes:
            given = self.attribute(attribute)
            return list(given) if isinstance(given, list) else [given]
        if self.input(index) is None:
            return None
        return list(self.known(index).flatten().tolist())

    def rank(self, index: int) -> int | None:
        """Return the number of axes of an input, None if it is unknown."""
        value = self.input(index)
        if isinstance(value, Tensor):
            return value.ndim
        if isinstance(value, Sizes):
            return value.elements.ndim
        known = self.types[index]
        return None if known is None or known.shape is None else len(known.shape)

    def known_rank(self, index: int) -> int:
        """Return the number of axes of an input.

        Raises:
            KnownAtRunTime: it follows from the inputs at run time; the handler will be called again then.
        """
        rank = self.rank(index)
        if rank is None:
            raise KnownAtRunTime(f"an input {index} whose number of axes is unknown")
        return rank

    def known_shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of a trained tensor, which is the same at every evaluation even if it is an input.

        Raises:
            KnownAtRunTime: the file does not say it; the handler will be called again at run time.
        """
        value = self.input(index)
        shape = value.shape if isinstance(value, Tensor) else self.declared_shape(index)
        known = tuple(length for length in shape or () if length is not None)
        if shape is None or len(known) < len(shape):
            raise KnownAtRunTime(f"an input {index} whose shape is unknown")
        return known

    def declared_shape(self, index: int) -> tuple[int | None, ...] | None:
        """Return the shape of an input at the sizes that the file declares; None if it is unknown."""
        known = self.types[index]
        return None if known is None else known.shape

    def is_floating(self, index: int) -> bool:
        """Return whether an input is of a floating-point type; yes if it is unknown."""
        value = self.input(index)
        if isinstance(value, Tensor | Sizes):
            return value.dtype.is_floating_point
        known = self.types[index]
        return known is None or known.element_type == TensorProto.UNDEFINED or known.element_type in FLOATING

    def element_type(self, index: int) -> int:
        """Return the ONNX element type of an input, TensorProto.UNDEFINED if it is unknown."""
        known = self.types[index] if index < len(self.types) else None
        if known is not None and known.element_type != TensorProto.UNDEFINED:
            return known.element_type
        value = self.input(index)
        return ELEMENT_TYPES[value.dtype] if isinstance(value, Tensor | Sizes) else TensorProto.UNDEFINED

    def wants(self, output: int) -> bool:
        """Return whether an optional output is asked for."""
        return output < len(self.node.output) and bool(self.node.output[output])

    def unsupported(self, detail: str) -> UnsupportedModel:
        """Return the error that this operator is known but not used in this way."""
        name = self.node.name or self.node.output[0]
        return UnsupportedModel(
            self.model,
            "it uses operators in ways that are not supported",
            ((f"{self.node.op_type} with {detail}", (name,)),),
        )
