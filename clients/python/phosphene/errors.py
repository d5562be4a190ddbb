"""The errors that a caller of the SDK can meet; those of the server have the server's names.

    PhospheneError
    ├── InvalidArgument        a field of a request is wrong: which, what came, what is allowed
    ├── NotFound               nothing has that name: the nearest names
    ├── ModelUnusable          the model exists but cannot be used
    │   ├── UnsupportedModel   its file needs operators that the server's importer lacks
    │   ├── DamagedModel       its file cannot be read, or is not the file that the manifest vouches for
    │   └── ParityFailure      its graph departs from the original runtime
    ├── LayerUnusable          the layer exists but the request does not apply to it
    ├── ModelBusy              the model cannot be unloaded while it is used
    ├── Overloaded             too much work is waiting: when to come again
    ├── ResponseTooLarge       the answer is larger than a message may be
    ├── WorkerLost             the process that did the work is gone and the work could not be resumed
    ├── NotEnabled             the operator has not enabled this
    ├── Unsupported            the contract knows this, that server does not do it yet
    ├── Unavailable            no server answers at the address
    ├── DeadlineExceeded       the answer did not come in time
    ├── Cancelled              the job or the call was cancelled
    ├── InternalError          the server failed without saying more
    └── LaunchFailed           the embedded server could not be started

What the server says is in `str(error)`; `error.reason` and `error.metadata` are for programs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class FieldViolation:
    """One field of a request that is wrong."""

    field: str
    """Path in the request, as in the proto: `objective.weighted_sum.terms[1].weight`."""
    description: str
    """What was expected and what came."""


class PhospheneError(Exception):
    """Base of all errors. `str(error)` is a sentence for people.

    Attributes:
        reason: What happened, for programs, in capitals, as the server said it; empty where it said nothing.
        metadata: Further facts as the server gave them, text by name.
    """

    def __init__(self, message: str, *, reason: str = "", metadata: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = dict(metadata)


class InvalidArgument(PhospheneError, ValueError):
    """One or more fields of the request are wrong.

    Attributes:
        violations: Every field that is wrong.
        field: The path of the first of them; empty where the server named none.
    """

    def __init__(
        self,
        message: str,
        *,
        violations: tuple[FieldViolation, ...] = (),
        reason: str = "INVALID_ARGUMENT",
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.violations = violations
        self.field = violations[0].field if violations else ""


class NotFound(PhospheneError, LookupError):
    """Nothing has the name that the request gives.

    Attributes:
        name: The name that was looked for; empty where the server did not repeat it.
        nearest: Names that exist and look alike, the nearest first.
        field: Path of the field in the request; empty where it has none.
    """

    def __init__(
        self,
        message: str,
        *,
        name: str = "",
        nearest: tuple[str, ...] = (),
        field: str = "",
        reason: str = "NOT_FOUND",
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.name = name
        self.nearest = nearest
        self.field = field


class ModelUnusable(PhospheneError):
    """The model exists but cannot be used."""


class UnsupportedModel(ModelUnusable):
    """The file needs operators that the server's importer does not have."""


class DamagedModel(ModelUnusable):
    """The file cannot be read, or is not the one that the manifest vouches for."""


class ParityFailure(ModelUnusable):
    """The differentiable graph departs from the original runtime."""


class LayerUnusable(PhospheneError):
    """The layer exists but the request does not apply to it."""


class ModelBusy(PhospheneError):
    """The model cannot be unloaded while it is used."""


class RetryableError(PhospheneError):
    """Base of the errors after which it makes sense to come again.

    Attributes:
        retry_after_seconds: When to come again; None where the server did not say.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        reason: str = "",
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.retry_after_seconds = retry_after_seconds


class Overloaded(RetryableError):
    """Too much work is waiting."""


class ResponseTooLarge(PhospheneError):
    """The answer is larger than a message may be; ask for less."""


class WorkerLost(RetryableError):
    """The process that did the work is gone and the work could not be resumed."""


class NotEnabled(PhospheneError):
    """The operator has not enabled this."""


class Unsupported(PhospheneError):
    """The contract knows this, but that version of the server does not do it yet."""


class Unavailable(RetryableError):
    """No server answers at the address, or the connection was lost."""


class DeadlineExceeded(PhospheneError, TimeoutError):
    """The answer did not come in time."""


class Cancelled(PhospheneError):
    """The job or the call was cancelled."""


class InternalError(PhospheneError):
    """The server failed without saying more; its log says what happened."""


class LaunchFailed(PhospheneError):
    """The embedded server could not be started."""
