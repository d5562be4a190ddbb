"""A cut graph in the fastest form that we know for its device and precision."""

from collections.abc import Sequence

from torch import Tensor, fx

from phosphene_server.errors import InvalidArgument
from phosphene_server.models.batching import Batching, evaluate_in_chunks
from phosphene_server.values.maximization import Precision

_OF_TYPES = ("BFloat16", "bfloat16", "dtype", "scalar type")
"""One of them is in every message in which torch refuses a type of numbers."""


class LoweredGraph:
    """Computes what a cut graph computes, faster, with rectifiers that can be redirected."""

    def __init__(
        self,
        module: fx.GraphModule,
        layers: tuple[str, ...],
        batching: Batching,
        precision: Precision = "float32",
        derived: Sequence[object] = (),
    ) -> None:
        """Take a graph whose last placeholder says which pictures are redirected, and what has to live as long."""
        self._precision = precision
        self._derived = tuple(derived)
        self.module = module
        self.layers = layers
        self.batching = batching

    def __call__(self, *inputs: Tensor, redirected: Tensor | None = None) -> dict[str, Tensor]:
        """Evaluate the layers.

        Args:
            inputs: The model's own inputs, already preprocessed, of any number of pictures; those that the graph's
                batching does not call shared have a batch axis in front. Pictures are best in `torch.channels_last`.
            redirected: Which pictures have redirected rectifiers (see rectifiers.py), bool, (batch,); None: none has.

        Returns:
            The activation of each layer, by name, with the pictures along its first axis. Gradients reach the inputs.

        Raises:
            InvalidArgument: an operation of the model does not take bfloat16, which was asked for.
        """
        try:
            values = self._evaluate(inputs, redirected)
        except (RuntimeError, NotImplementedError) as error:
            if self._precision != "bfloat16" or not any(word in str(error) for word in _OF_TYPES):
                raise
            first = str(error).partition("\n")[0][:200]
            raise InvalidArgument(
                "precision", "bfloat16", f"float32: an operation of this model refuses: {first}"
            ) from error
        return dict(zip(self.layers, values, strict=True))

    def _evaluate(self, inputs: Sequence[Tensor], redirected: Tensor | None) -> Sequence[Tensor]:
        if redirected is None:
            return evaluate_in_chunks(self._plain, inputs, self.batching)
        return evaluate_in_chunks(self.module, (*inputs, redirected), self.batching)

    def _plain(self, *inputs: Tensor) -> Sequence[Tensor]:
        values: Sequence[Tensor] = self.module(*inputs, None)
        return values
