"""The errors of the service, one tree for all folders.

    PhospheneError
    ├── InvalidArgument        a field of a request is wrong: which, what came, what is allowed
    ├── NotFound               nothing has that name: what kind of thing, and the nearest names
    ├── ModelUnusable          the model exists but cannot be used
    │   ├── UnsupportedModel   its file needs operators that the importer lacks: all of them, with their nodes
    │   ├── DamagedModel       its file cannot be read, or is not the file that the manifest vouches for
    │   └── ParityFailure      its graph departs from the original runtime: the first layer and by how much
    ├── LayerUnusable          the layer exists but the request does not apply to it
    ├── ModelBusy              the model cannot be unloaded while it is used
    ├── Overloaded             too much work is waiting: when to come again
    ├── ResponseTooLarge       the answer does not fit into one message: ask for less
    ├── WorkerLost             the process that did the work is gone and the work could not be resumed
    ├── NotEnabled             the operator has not enabled this
    ├── Unsupported            the contract knows this, this version does not do it yet
    └── InternalError          a fault of the service itself: its log has the details

`rpc/statuses.py` maps each class to a gRPC status. Errors cross the line between the processes, so they pickle.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any


@dataclass(eq=False)
class PhospheneError(Exception):
    """Base of all errors that a caller can meet. `str(error)` is a sentence for people."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by field: the default would lose keyword arguments."""
        return _rebuild, (type(self), {field.name: getattr(self, field.name) for field in fields(self)})


def _rebuild(kind: type[PhospheneError], values: dict[str, Any]) -> PhospheneError:
    return kind(**values)


@dataclass(eq=False)
class InvalidArgument(PhospheneError):
    """A field of the request is wrong."""

    field: str
    """Path in the request, as in the proto: `objective.weighted_sum.terms[1].weight`."""
    value: str
    """What came, shortened for display."""
    expected: str
    """What is allowed, as a phrase: `a number from 1 to 64`."""
    others: tuple["InvalidArgument", ...] = ()
    """What else is wrong in the same request."""

    def __str__(self) -> str:
        return f"{self.field}: expected {self.expected}, got {self.value}"


@dataclass(eq=False)
class NotFound(PhospheneError):
    """Nothing has the name that the request gives."""

    kind: str
    """What was looked for: `model`, `version`, `layer`, `class` or `maximization`."""
    name: str
    nearest: tuple[str, ...] = ()
    """Names that exist and look alike, the nearest first."""
    field: str = ""
    """Path of the field in the request; empty where it has none."""

    def __str__(self) -> str:
        hint = f"; did you mean {', '.join(repr(name) for name in self.nearest)}?" if self.nearest else ""
        where = f"{self.field}: " if self.field else ""
        return f"{where}no {self.kind} is named {self.name!r}{hint}"


@dataclass(eq=False)
class ModelUnusable(PhospheneError):
    """The model exists but cannot be used."""

    model: str
    detail: str

    def __str__(self) -> str:
        return f"model {self.model!r} cannot be used: {self.detail}"


@dataclass(eq=False)
class UnsupportedModel(ModelUnusable):
    """The file needs operators that the importer does not have."""

    operators: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Each missing operator with the names of the nodes that use it."""

    def __str__(self) -> str:
        rows = "; ".join(f"{operator} ({', '.join(nodes[:5])})" for operator, nodes in self.operators)
        return f"model {self.model!r} cannot be used: {self.detail}{': ' if rows else ''}{rows}"


@dataclass(eq=False)
class DamagedModel(ModelUnusable):
    """The file cannot be read, or is not the one that the manifest vouches for."""


@dataclass(eq=False)
class ParityFailure(ModelUnusable):
    """The differentiable graph departs from the original runtime."""

    layer: str = ""
    """The first layer that departs; empty where only the output could be compared."""
    deviation: float = 0.0
    """The largest absolute difference there."""


@dataclass(eq=False)
class LayerUnusable(PhospheneError):
    """The layer exists but the request does not apply to it."""

    layer: str
    detail: str
    field: str = "layer"

    def __str__(self) -> str:
        return f"{self.field}: layer {self.layer!r} {self.detail}"


@dataclass(eq=False)
class ModelBusy(PhospheneError):
    """The model cannot be unloaded while it is used."""

    model: str

    def __str__(self) -> str:
        return f"model {self.model!r} is in use: by a maximization, or by a request that is just being answered"


@dataclass(eq=False)
class Overloaded(PhospheneError):
    """Too much work is waiting."""

    detail: str
    retry_after_seconds: float

    def __str__(self) -> str:
        return f"{self.detail}; try again in {self.retry_after_seconds:.0f} s"


@dataclass(eq=False)
class ResponseTooLarge(PhospheneError):
    """The answer does not fit into one message."""

    size_bytes: int
    limit_bytes: int

    def __str__(self) -> str:
        return (
            f"the response has {self.size_bytes} bytes, more than the {self.limit_bytes} of one message "
            "(setting maximum_message_bytes); ask for less"
        )


@dataclass(eq=False)
class WorkerLost(PhospheneError):
    """The process that did the work is gone and the work could not be resumed."""

    detail: str
    retry_after_seconds: float = 1.0

    def __str__(self) -> str:
        return f"the worker process was lost: {self.detail}"


@dataclass(eq=False)
class NotEnabled(PhospheneError):
    """The operator has not enabled this."""

    feature: str
    setting: str
    """The setting that enables it."""

    def __str__(self) -> str:
        return f"{self.feature} is not enabled on this server (setting {self.setting})"


@dataclass(eq=False)
class Unsupported(PhospheneError):
    """The contract knows this, but this version of the service does not do it yet."""

    feature: str

    def __str__(self) -> str:
        return f"{self.feature} is not supported by this version of the service"


@dataclass(eq=False)
class InternalError(PhospheneError):
    """A fault of the service itself. What went wrong stands in its log, never here."""

    doing: str
    """What the service was doing, as a phrase: `stepping a maximization`."""

    def __str__(self) -> str:
        return f"the service failed while {self.doing}; its log has the details"


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or its type where it says nothing; libraries often add a trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def nearest_names(name: str, known: Iterable[str], *, limit: int = 3) -> tuple[str, ...]:
    """Return the known names that look most like `name`, the nearest first; capitals do not matter."""
    originals = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), originals, n=limit, cutoff=0.5)
    contained = [candidate for candidate in originals if name.lower() in candidate and candidate not in close]
    return tuple(originals[candidate] for candidate in [*close, *contained][:limit])
