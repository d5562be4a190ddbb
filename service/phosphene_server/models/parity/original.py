"""What every format's own runtime offers for a comparison."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor

from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.parity.deviations import Array


class CannotRun(Exception):
    """The runtime cannot run the file, for a reason that does not make the file a damaged one."""


class Original(Protocol):
    """A model file in the runtime that its format belongs to.

    It is made after the file has been imported, so the file has been inspected and all of its operators are known. It
    computes on the CPU, as in inference.
    """

    runtime: str
    """Its name and version, for example `onnxruntime 1.31.1`."""
    tolerance: float
    """Deviation to be accepted, relative to the largest output: larger for files of low precision."""

    def outputs(self, inputs: Sequence[Tensor]) -> list[Array]:
        """Return the outputs of the file for its inputs.

        Raises:
            CannotRun: the runtime lacks an operator or a version, or does not accept these inputs.
            ModelUnusable: it did not finish in time.
        """
        ...

    def layers(self, graph: ModelGraph, inputs: Sequence[Tensor]) -> Mapping[str, Array]:
        """Return the values of those layers of the graph that the runtime can show, in the order of execution.

        Raises:
            CannotRun: as `outputs`.
        """
        ...
