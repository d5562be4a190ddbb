"""The settings of the service: one frozen dataclass, read in `app.py` alone."""

from dataclasses import dataclass, field
from pathlib import Path


def _default_addresses() -> tuple[str, ...]:
    return ("127.0.0.1:50051",)


@dataclass(frozen=True)
class Settings:
    """Everything that an operator can choose.

    `phosphene serve --some-setting VALUE` sets `some_setting`, and so does the environment variable
    `PHOSPHENE_SOME_SETTING`; the command line wins.
    """

    listen: tuple[str, ...] = field(default_factory=_default_addresses)
    """Addresses to listen on: `host:port` or `unix:PATH`. Only this machine can reach the default."""
    model_repository: Path | None = None
    """Folder of models, `NAME/VERSION/model.{onnx,pt2,pt}`. None: only the bundled model."""
    model_admin: bool = False
    """Whether ModelAdminService may load and unload models."""
    device: str = "auto"
    """Where models run: `cpu`, `cuda`, `cuda:1`; `auto` takes CUDA where there is one."""
    threads: int = 0
    """Threads of the CPU that one operation may use; 0: one for each core."""
    loaded_models: int = 8
    """Models that a worker holds at most; the one that was used least recently goes first."""
    maximum_jobs: int = 256
    """Maximizations that run or wait at most; more are refused with RESOURCE_EXHAUSTED."""
    maximum_running_jobs: int = 16
    """Maximizations that a worker steps at the same time; the others wait."""
    finished_job_seconds: float = 600.0
    """How long a finished maximization can still be asked for, in seconds."""
    frame_history_bytes: int = 16 * 2**20
    """Frames of one maximization that are kept for watchers who come late, in bytes."""
    maximum_message_bytes: int = 64 * 2**20
    """The largest gRPC message, either way, in bytes."""
    progress_seconds: float = 0.25
    """The time between two progress events of a job, in seconds."""
    checkpoint_seconds: float = 2.0
    """The time between two checkpoints of a job, in seconds."""
    worker_start_seconds: float = 120.0
    """How long a worker may take to become ready, in seconds."""
    worker_restarts: int = 3
    """How often a job may lose its worker before it is failed."""
    shutdown_grace_seconds: float = 10.0
    """How long running calls may go on after SIGTERM, in seconds."""
    parent_pipe: bool = False
    """Whether the service ends when its standard input is closed; for a server embedded in another program."""
    log_level: str = "info"
    """`debug`, `info`, `warning` or `error`."""
