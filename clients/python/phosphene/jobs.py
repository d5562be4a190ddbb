"""A job as the server knows it, whatever kind of maximization it is."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from phosphene.layers import LayerProgress, LayerSettings
from phosphene.maximizations import MaximizationSettings, Progress

MaximizationState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


@dataclass(frozen=True)
class Maximization:
    """A job as the server knows it."""

    id: str
    state: MaximizationState
    settings: MaximizationSettings | LayerSettings
    progress: Progress | LayerProgress
    create_time: datetime
    """In UTC."""
    error: str
    """Why it failed; empty otherwise."""
