"""What an examination found, as plain values that become JSON."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Report:
    """What is known of a file; what could not be found out is None or empty."""

    file: str
    name: str
    format: str = ""
    sha256: str = ""
    size_bytes: int = 0
    written_as: str = ""
    """The version of the format: `opset 20, IR version 10`."""
    model: Mapping[str, Any] | None = None
    """The `Model` as GetModel shows it, with layers, parity, batch handling and preprocessing."""
    missing_operators: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """All operators that the importer lacks, each with all the nodes that use it."""
    departing_layer: str = ""
    """The first layer that departs from the original runtime."""
    gradient: Mapping[str, Any] | None = None
    """The `GradientCheck`."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each stage took: read, import, probe, parity, gradient."""
    problems: list[str] = field(default_factory=list)
    """Why it cannot be used; empty where it can."""
    remarks: list[str] = field(default_factory=list)
    """What is worth knowing though it does not stand in the way."""

    @property
    def passed(self) -> bool:
        """Whether it can be used."""
        return not self.problems

    def document(self) -> dict[str, Any]:
        """Return the report as JSON takes it, whether it passed included."""
        document: dict[str, Any] = _finite({**asdict(self), "passed": self.passed})
        return document


def _finite(value: Any) -> Any:
    """Replace numbers that JSON has no word for by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    return [_finite(part) for part in value] if isinstance(value, list | tuple) else value
