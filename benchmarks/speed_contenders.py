"""What each contender does in its own process: a step is one forward and backward pass and one move of the pictures.

`prepare(case)` returns `run(steps)`, which returns the seconds of that many steps, without what comes before the first.
All use the same network (`speed_network.py`), the same channel, and all cores. What they do in a step:

phosphene     128 px Fourier parameter -> decode -> scale 0.6 to 1.6, rotate 20 degrees, jitter 20 %, resize to 224, in
              one sampling -> noise -> normalize -> lowered graph up to the layer -> back -> Adam.
lucent        `render_vis` with its defaults: 128 px Fourier parameter -> pad 12, jitter 8, scale 0.9 to 1.1, rotate 10
              degrees, jitter 4, each on its own -> normalize -> Upsample to 224 -> the whole network -> back -> Adam.
              `lucent` has the weights as torchvision gives them, so their gradients are computed too, as in Lucent's
              notebooks; for `lucent_frozen` the caller knew better.
torch_dreams  `Dreamer.render`: 128 px Fourier parameter -> normalize -> its defaults, RandomAffine of 15 degrees and
              random_resize 0.5 to 1.2 -> Resize to 224 -> the whole network -> back -> clip -> AdamW.
lowered       forward and backward of our lowered graph alone, on a fixed input.
bare          forward and backward of the cut network alone, on a fixed input in channels_last. `bare` is torchvision's
              network cut by fx, weights frozen; `bare_captured` the same replayed as one CUDA graph; `bare_folded` our
              ONNX graph before it is lowered, whose batch normalizations the exporter has folded into the convolutions.
"""

import copy
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from torchvision import transforms
from torchvision.models.feature_extraction import create_feature_extractor

from benchmarks.speed_cases import CHANNEL, ENDLESS, MODEL, REPOSITORY, Case, arguments, requests
from benchmarks.speed_network import googlenet
from benchmarks.speed_process import Surroundings
from benchmarks.speed_server import FRAME_STEPS, Server
from phosphene_server.engine.ascents import steps_on
from phosphene_server.engine.device import open_device
from phosphene_server.maximization.ascent import Ascent
from phosphene_server.maximization.preparation import prepare
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.models.loading import load_model
from phosphene_server.models.repository import Repository
from phosphene_server.settings import Settings
from phosphene_server.values.model import ModelReference

Run = Callable[[int], float]
Graph = Callable[[Tensor], Mapping[str, Tensor]]

SAME = 1e-3
"""How far the networks of two contenders may be apart, relative to the largest activation."""


class Contender(Protocol):
    """Made once in a process."""

    def prepare(self, case: Case) -> Run:
        """Return what runs a number of steps and returns their seconds."""


class Phosphene:
    """Ours, in process: what a worker does in its loop, without jobs, frames and sockets."""

    def __init__(self, device: torch.device, *, captured: bool = True) -> None:
        """Load the model; `captured`: step as on a GPU, where steps are captured as CUDA graphs."""
        self._model = loaded_model(device)
        self._step = steps_on(device, captured=captured)

    def prepare(self, case: Case) -> Run:
        if case.fresh:
            return lambda steps: self._run(self._ascents(case), steps)
        ascents = self._ascents(case)
        return lambda steps: self._run(ascents, steps)

    def _ascents(self, case: Case) -> list[Ascent]:
        return [Ascent(self._model, prepare(self._model, request)) for request in requests(case)]

    def _run(self, ascents: list[Ascent], steps: int) -> float:
        return timed(lambda: self._step(ascents), steps, self._model.device)


class ThroughServer:
    """Ours, through `phosphene serve` and the SDK over a socket, with a frame every 16 steps.

    The seconds are those between the arrivals of two frames of a running job, so its start and end do not count, and
    neither do the first steps. Fewer steps than lie between two frames are computed from those.
    """

    def __init__(self, device: torch.device) -> None:
        self._server = Server(device=str(device))

    def prepare(self, case: Case) -> Run:
        def run(steps: int) -> float:
            whole = max(1, steps // FRAME_STEPS) * FRAME_STEPS
            return self._seconds(case, whole) * steps / whole

        return run

    def _seconds(self, case: Case, steps: int) -> float:
        """Return the seconds of steps behind the first frame."""
        marks: list[tuple[int, float]] = []
        with self._server.client.maximize(**arguments(case), steps=ENDLESS, frame_every=FRAME_STEPS) as job:
            for frame in job:
                marks.append((frame.step, time.perf_counter()))
                if frame.step >= FRAME_STEPS + steps:
                    break
            job.cancel()
            job.result()  # the next contender's turn comes when nothing is left to do here
        (first, started), (last, ended) = marks[0], marks[-1]
        return (ended - started) * steps / (last - first)  # a slow watcher misses frames


class Lucent:
    """Lucent's own loop; its steps are told apart by when the network is called."""

    def __init__(self, device: torch.device, *, frozen: bool = False) -> None:
        from lucent.optvis import objectives, param, render  # noqa: PLC0415  # optional: the extra `benchmarks`

        self._objectives, self._param, self._render = objectives, param, render
        self._device = device
        self._network = googlenet().to(device).requires_grad_(not frozen)

    def prepare(self, case: Case) -> Run:
        def run(steps: int) -> float:
            objective = self._objectives.channel(case.layer.replace(".", "_"), CHANNEL)
            with warnings.catch_warnings(action="ignore"):
                seconds = between_calls(
                    self._network,
                    lambda: self._render.render_vis(
                        self._network,
                        objective,
                        param_f=lambda: self._param.image(case.parameter, batch=case.pictures),
                        thresholds=(steps + 1,),
                        progress=False,
                        show_image=False,
                    ),
                    steps,
                    self._device,
                )
            # It leaves its hooks behind; with those of every earlier run it would become slower and slower.
            for module in self._network.modules():
                module._forward_hooks.clear()
            return seconds

        return run


class TorchDreams:
    """The loop of torch-dreams."""

    def __init__(self, device: torch.device) -> None:
        # Optional: the extra `benchmarks`.
        from torch_dreams import Dreamer  # noqa: PLC0415
        from torch_dreams.batched_image_param import BatchedAutoImageParam  # noqa: PLC0415
        from torch_dreams.transforms import random_resize  # noqa: PLC0415

        self._device = device
        self._network = googlenet().to(device)
        self._dreamer = Dreamer(self._network, quiet=True, device=str(device))
        self._parameter = BatchedAutoImageParam
        self._default = [transforms.RandomAffine(degrees=15, translate=(0.0, 0.0)), random_resize(1.2, 0.5)]

    def prepare(self, case: Case) -> Run:
        resize = transforms.Resize((case.shown, case.shown))
        layer = self._network.get_submodule(case.layer)

        def run(steps: int) -> float:
            self._dreamer.set_custom_transforms(transforms.Compose([*self._default, resize]))
            parameter = self._parameter(case.pictures, case.parameter, case.parameter, device=str(self._device))
            return between_calls(
                self._network,
                lambda: self._dreamer.render(
                    layers=[layer],
                    image_parameter=parameter,
                    iters=steps + 1,
                    custom_func=lambda outputs: -outputs[0][:, CHANNEL].mean(),
                ),
                steps,
                self._device,
            )

        return run


class Bare:
    """Forward and backward passes alone: what no step around them can be faster than, with these operations."""

    def __init__(
        self, cut: Callable[[Case], tuple[Graph, torch.dtype]], device: torch.device, *, captured: bool = False
    ) -> None:
        """Take what returns a graph for a case, and the type of its pictures; `captured`: replay it as a CUDA graph."""
        self._cut, self._device, self._captured = cut, device, captured

    def prepare(self, case: Case) -> Run:
        graph, dtype = self._cut(case)
        seen = torch.rand(case.pictures, 3, case.shown, case.shown, device=self._device, dtype=dtype)
        seen = seen.to(memory_format=torch.channels_last).requires_grad_()

        def passes() -> None:
            objective = graph(seen)[case.layer][:, CHANNEL].mean(dim=(1, 2)).sum()
            torch.autograd.grad(objective, seen)

        once = replayed(passes) if self._captured else passes
        return lambda steps: timed(once, steps, self._device)


def bare(device: torch.device, *, captured: bool = False) -> Bare:
    """The network of torchvision, cut by fx."""
    network = googlenet().requires_grad_(False).to(device).to(memory_format=torch.channels_last)

    def cut(case: Case) -> tuple[Graph, torch.dtype]:
        dtype = torch.bfloat16 if case.precision == "bfloat16" else torch.float32
        return create_feature_extractor(copy.deepcopy(network).to(dtype), [case.layer]).eval(), dtype

    return Bare(cut, device, captured=captured)


def bare_folded(device: torch.device) -> Bare:
    """Our graph of the ONNX file, cut, not lowered."""
    model = loaded_model(device)
    return Bare(lambda case: (model.graph.cut([case.layer]), torch.float32), device)


def lowered(device: torch.device) -> Bare:
    """Our graph, lowered; it reads float32 at either precision."""
    model = loaded_model(device)
    return Bare(lambda case: (model.lowered([case.layer], case.precision), torch.float32), device)


CONTENDERS: Mapping[str, Callable[[torch.device], Contender]] = {
    "phosphene": Phosphene,
    "phosphene_uncaptured": lambda device: Phosphene(device, captured=False),
    "server": ThroughServer,
    "lucent": Lucent,
    "lucent_frozen": lambda device: Lucent(device, frozen=True),
    "torch_dreams": TorchDreams,
    "lowered": lowered,
    "bare": bare,
    "bare_captured": lambda device: bare(device, captured=True),
    "bare_folded": bare_folded,
}


def replayed(once: Callable[[], object]) -> Callable[[], object]:
    """Return what runs something again as one CUDA graph, which costs the host a single launch."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # capture wants everything to be set up, on another stream than the default one
        for _ in range(3):
            once()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        once()
    return graph.replay


def device_of(name: str, surroundings: Surroundings) -> torch.device:
    """Return a device; where a worker's surroundings are asked for, this process computes as a worker does."""
    return open_device(Settings(device=name)) if surroundings == "worker" else torch.device(name)


def loaded_model(device: torch.device) -> LoadedModel:
    """Load our model and see that it computes what the network of the others does."""
    model = load_model(Repository(REPOSITORY).resolve(ModelReference(MODEL)), device)
    layer = Case().layer
    picture = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = create_feature_extractor(googlenet(), [layer])(picture)[layer]
        found = model.graph.cut([layer])(picture.to(device))[layer].cpu()
    difference = float((found - expected).abs().max() / expected.abs().max())
    assert difference < SAME, f"the contenders compute different networks: {difference:.2g}; delete {REPOSITORY.name}"
    return model


def timed(once: Callable[[], object], times: int, device: torch.device) -> float:
    wait_for(device)
    started = time.perf_counter()
    for _ in range(times):
        once()
    wait_for(device)
    return time.perf_counter() - started


def between_calls(network: nn.Module, loop: Callable[[], object], steps: int, device: torch.device) -> float:
    """Return the seconds between the first call of a network and the one `steps` calls later."""
    marks: list[float] = []

    def mark(*_: object) -> None:
        if len(marks) in (0, steps):
            wait_for(device)
        marks.append(time.perf_counter())

    handle = network.register_forward_pre_hook(mark)
    try:
        loop()
    finally:
        handle.remove()
    return marks[steps] - marks[0]


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
