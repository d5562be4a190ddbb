"""Slides kernels over a picture, as the service does and as torch and SciPy do, and measures all of them in turns.

    python -m benchmarks.speed_sliding      prints JSON

All slide the same kernels over the same picture with its border mirrored. `SUMS` says what each sums in: to be compared
are those that sum alike. `deviation` is the largest difference from `scipy.ndimage`; ours is that of rounding the sums
to float32, which is what the service answers. Decoding, drawing and compressing are measured apart.
"""

import argparse
import functools
import io
import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, signal

from phosphene_server.engine.device import open_device
from phosphene_server.filters.application import respond
from phosphene_server.filters.rendering import Placement, render
from phosphene_server.filters.sliding import Sliding
from phosphene_server.filters.sources import KernelNumbers
from phosphene_server.pictures.decoding import decode
from phosphene_server.pictures.encoding import to_bytes
from phosphene_server.settings import Settings
from phosphene_server.values.image import EncodedImage, ImageEncoding
from phosphene_server.values.kernel import ApplyKernelRequest, CustomKernel, Extent, ResponseRendering

SIDE = 1024
SIZES = (3, 7, 31)
CHANNELS = (1, 3)

Candidates = Mapping[str, Callable[[], Any]]
Slide = Callable[[NDArray[np.float32], NDArray[np.float64]], NDArray[Any]]
"""From a picture, (channel, height, width), and a kernel, (rows, columns), to the response of each channel."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small picture and few rounds")
    options = parser.parse_args()
    print(json.dumps(measured(SIDE // 4 if options.quick else SIDE, rounds=2 if options.quick else 5)))


def measured(side: int, *, rounds: int) -> dict[str, Any]:
    device = open_device(Settings(device="cpu"))
    with torch.inference_mode():
        sliding = {
            f"{name}, channels: {channels}": compared(photo(side)[:channels], kernel, rounds=rounds)
            for channels in CHANNELS
            for name, kernel in kernels_to_slide().items()
        }
    files = file_speeds(photo(side), rounds=rounds)
    return {"side": side, "device": str(device), "sums": dict(SUMS), "sliding": sliding, "files": files}


def slide_as_the_service(picture: NDArray[np.float32], kernel: NDArray[np.float64]) -> NDArray[Any]:
    """Slide in pieces between two steps, as the service does, without its decoding and drawing."""
    sliding = Sliding.of(ApplyKernelRequest((EncodedImage(b""),), CustomKernel(kernel)), kernel.shape)
    numbers = KernelNumbers(torch.from_numpy(kernel)[None, None], plane=True)
    answer: NDArray[np.float32] = respond(
        list(picture[:, None]), numbers, sliding, device=torch.device("cpu"), field="images[0]"
    )
    return answer


def slide_by_torch(picture: NDArray[np.float32], kernel: NDArray[np.float64], *, dtype: torch.dtype) -> NDArray[Any]:
    edge = kernel.shape[0] // 2
    bordered = F.pad(torch.from_numpy(picture).to(dtype)[:, None], (edge,) * 4, mode="reflect")
    answer: NDArray[Any] = F.conv2d(bordered, torch.from_numpy(kernel).to(dtype)[None, None])[:, 0].numpy()
    return answer


def slide_by_ndimage(picture: NDArray[np.float32], kernel: NDArray[np.float64]) -> NDArray[Any]:
    return np.stack([ndimage.correlate(plane.astype(np.float64), kernel, mode="mirror") for plane in picture])


def slide_by_signal(picture: NDArray[np.float32], kernel: NDArray[np.float64]) -> NDArray[Any]:
    edge = kernel.shape[0] // 2
    bordered = np.pad(picture.astype(np.float64), ((0, 0), (edge, edge), (edge, edge)), mode="reflect")
    answer: NDArray[Any] = signal.oaconvolve(bordered, kernel[None, ::-1, ::-1], mode="valid", axes=(1, 2))
    return answer


SLIDERS: Mapping[str, Slide] = {
    "phosphene": slide_as_the_service,
    "torch_float32": functools.partial(slide_by_torch, dtype=torch.float32),
    "torch_float64": functools.partial(slide_by_torch, dtype=torch.float64),
    "scipy.ndimage": slide_by_ndimage,
    "scipy.signal": slide_by_signal,
}

SUMS: Mapping[str, str] = {
    "phosphene": "float64",
    "torch_float32": "float32",
    "torch_float64": "float64",
    "scipy.ndimage": "float64",
    "scipy.signal": "float64, through Fourier's transform",
}
UNFOLDED_BYTES = 2**30
"""Torch copies the pixels under every position of a float64 kernel; it is not asked for more than this."""


def kernels_to_slide() -> dict[str, NDArray[np.float64]]:
    """Return a kernel of whole numbers, kernels of any numbers, and one that is an outer product."""
    chance = np.random.default_rng(0)
    places = np.arange(31) - 15
    bell = np.exp(-((places / 5) ** 2) / 2)
    return {
        "laplacian 3x3": np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]),
        **{f"any numbers {size}x{size}": chance.standard_normal((size, size)) / size for size in SIZES},
        "gaussian 31x31": np.outer(bell, bell) / bell.sum() ** 2,
    }


def compared(picture: NDArray[np.float32], kernel: NDArray[np.float64], *, rounds: int) -> dict[str, Any]:
    """Return megapixels per second, pixels counted once however many channels they have, and deviations."""
    candidates = {name: functools.partial(slide, picture, kernel) for name, slide in SLIDERS.items()}
    if 8 * picture[0].size * kernel.size > UNFOLDED_BYTES:
        del candidates["torch_float64"]
    answers = {name: run() for name, run in candidates.items()}
    exact = answers["scipy.ndimage"]
    return {
        "megapixels_per_second": speeds(candidates, picture, rounds=rounds),
        "deviation": {name: float(np.abs(answer - exact).max()) for name, answer in answers.items()},
    }


def speeds(candidates: Candidates, picture: NDArray[np.float32], *, rounds: int) -> dict[str, float]:
    """Return the megapixels per second of candidates that take turns, each woken by a run that is not counted.

    What ran before decides whether the threads of the next one sleep, which a small picture feels.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            run()
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    megapixels = picture.shape[1] * picture.shape[2] / 1e6
    return {name: round(megapixels / statistics.median(values), 3) for name, values in seconds.items()}


def file_speeds(picture: NDArray[np.float32], *, rounds: int) -> dict[str, float]:
    """Return the megapixels per second of decoding, and of drawing and compressing a response with its overlay."""
    image = Image.fromarray(to_bytes(picture))
    files = {kind: EncodedImage(encoded(image, kind)) for kind in ("png", "jpeg")}
    response = picture[:1] - picture[1:2]
    placement = Placement((0, 0), Extent(1, 1))
    candidates: dict[str, Callable[[], Any]] = {
        f"decode {kind}": functools.partial(decode, file, field="images[0]") for kind, file in files.items()
    }
    for kind in ("png", "webp"):
        rendering = ResponseRendering(encoding=ImageEncoding(kind))
        drawn = functools.partial(render, response, picture, placement, rendering)
        candidates[f"draw and compress {kind}, with overlay"] = drawn
    for run in candidates.values():
        run()
    return speeds(candidates, picture, rounds=rounds)


def photo(side: int) -> NDArray[np.float32]:
    """Return a picture that compresses about as photos do, RGB in [0, 1], (3, side, side): 1/f noise."""
    chance = np.random.default_rng(0)
    rows, columns = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    falling = 1 / np.maximum(np.hypot(rows, columns), 1 / side)
    spectrum = np.fft.rfft2(chance.standard_normal((3, side, side))) * falling
    waves = np.fft.irfft2(spectrum, s=(side, side))
    waves = (waves - waves.mean()) / waves.std()
    picture: NDArray[np.float32] = np.clip(0.5 + 0.2 * waves, 0, 1).astype(np.float32)
    return picture


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
