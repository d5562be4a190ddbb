"""The settings of the service: one frozen dataclass, read in `app.py` alone."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import StringConstraints

Address = Annotated[str, StringConstraints(pattern=r"^(unix:.+|.+:[0-9]{1,5})$")]
Device = Annotated[str, StringConstraints(pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")]
Seconds = Annotated[float, Gt(0), Le(31_536_000)]


def _default_addresses() -> tuple[str, ...]:
    return ("127.0.0.1:50051",)


@dataclass(frozen=True)
class Settings:
    """Everything that an operator can choose.

    `phosphene serve --some-setting VALUE` sets `some_setting`, and so does the environment variable
    `PHOSPHENE_SOME_SETTING`; the command line wins.
    """

    listen: Annotated[tuple[Address, ...], MinLen(1)] = field(default_factory=_default_addresses)
    """Addresses to listen on: `host:port` or `unix:PATH`, several separated by commas. Only this machine can reach the
    default."""
    model_repository: Path | None = None
    """Folder of models, `NAME/VERSION/model.{onnx,pt2,pt}`. None: only the bundled model."""
    model_admin: bool = False
    """Whether ModelAdminService may load and unload models."""
    device: Device = "auto"
    """Where models run: `cpu`, `cuda`, `cuda:1`; `auto` takes CUDA where there is one."""
    threads: Annotated[int, Ge(0), Le(1024)] = 0
    """Threads of the CPU that one operation may use; 0: one for each core."""
    loaded_models: Annotated[int, Ge(1)] = 8
    """Models that a worker holds at most; the one that was used least recently goes first."""
    maximum_jobs: Annotated[int, Ge(1)] = 256
    """Maximizations that run or wait at most, a whole layer being one; more are refused with RESOURCE_EXHAUSTED."""
    maximum_running_lanes: Annotated[int, Ge(1)] = 256
    """Pictures that a worker optimizes at the same time; further jobs wait."""
    lanes_per_step: Annotated[int, Ge(0), Le(4096)] = 0
    """Pictures that are stepped in one batch at most, unless a single job has more; 0: 8 on a CPU, 64 on a GPU."""
    memory_bytes: Annotated[int, Ge(0)] = 0
    """What models and pictures may take of the memory of the device, in bytes; 0: 80 % of what is free at the start."""
    cuda_graphs: bool = True
    """Whether steps on a GPU are captured, and asked for as a whole from then on."""
    maximum_priority: Annotated[int, Ge(1), Le(1000)] = 4
    """The highest priority that a request may ask for."""
    finished_jobs: Annotated[int, Ge(1)] = 128
    """Finished maximizations that can still be asked for, at most; the one that ended first goes first."""
    finished_job_seconds: Seconds = 600.0
    """How long a finished maximization can still be asked for, in seconds."""
    maximum_layer_channels: Annotated[int, Ge(1), Le(16_384)] = 4096
    """The most channels of one maximization of a layer."""
    running_layer_bytes: Annotated[int, Ge(2**20)] = 2 * 2**30
    """What the pictures of all layers that run or wait may take, in bytes without compression; more are refused. The
    service keeps them, compressed, until the end."""
    finished_layer_bytes: Annotated[int, Ge(0)] = 512 * 2**20
    """Pictures of finished layers that are kept for watchers who come late, in bytes; the layer that ended first is
    forgotten first, the last one never for its size."""
    frame_history_bytes: Annotated[int, Ge(0)] = 16 * 2**20
    """Frames of one maximization that are kept for watchers who come late, in bytes."""
    maximum_message_bytes: Annotated[int, Ge(2**16), Le(2**31 - 1)] = 64 * 2**20
    """The largest gRPC message, either way, in bytes."""
    progress_seconds: Seconds = 0.25
    """The time between two progress events of a job, in seconds."""
    checkpoint_seconds: Seconds = 2.0
    """The time between two checkpoints of a job, in seconds."""
    worker_start_seconds: Seconds = 120.0
    """How long a worker may take to become ready, in seconds."""
    worker_restarts: Annotated[int, Ge(0)] = 3
    """How often a job may lose its worker before it is failed."""
    shutdown_grace_seconds: Annotated[float, Ge(0), Le(86_400)] = 10.0
    """How long running calls may go on after SIGTERM, in seconds."""
    parent_pipe: bool = False
    """Whether the service ends when its standard input is closed; for a server embedded in another program."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """`debug`, `info`, `warning` or `error`."""
