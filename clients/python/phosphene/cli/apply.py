"""`phosphene apply`: where a kernel answers in pictures."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from phosphene.cli.connections import ModelRepository, Server, open_client
from phosphene.cli.consoles import output
from phosphene.cli.kernel_syntax import parse_kernel
from phosphene.kernels import KernelResponse


class Padding(StrEnum):
    """What stands beyond the border of the picture."""

    REFLECT = "reflect"
    ZEROS = "zeros"
    REPLICATE = "replicate"
    CIRCULAR = "circular"
    VALID = "valid"


def apply(
    kernel: Annotated[
        str,
        typer.Argument(
            metavar="KERNEL",
            help="A name: laplacian, sobel_x, sobel_y, prewitt_x, prewitt_y, scharr_x, scharr_y, gaussian, box, "
            "sharpen, emboss, identity. Or its rows: [bold]'0,1,0;1,-4,1;0,1,0'[/bold] (after -- when it begins with a "
            "minus). Or filters of a layer that reads pictures: [bold]shapes:conv1[/bold], "
            "[bold]shapes:conv1:3,5[/bold].",
        ),
    ],
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="PNG, JPEG or WebP files.", exists=True, dir_okay=False)
    ],
    result: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Where the response goes: a file, or a folder when there are several images."
        ),
    ] = Path("kernel.png"),
    overlay: Annotated[bool, typer.Option("--overlay", help="Lay the response over the picture.")] = False,
    per_channel: Annotated[
        bool, typer.Option("--per-channel", help="Slide over each colour channel by itself, not over the luma.")
    ] = False,
    flip: Annotated[bool, typer.Option("--flip", help="Turn the kernel by 180 degrees: convolution.")] = False,
    stride: Annotated[int, typer.Option(help="Pixels between two positions of the kernel.")] = 1,
    dilation: Annotated[int, typer.Option(help="Pixels between two taps of the kernel.")] = 1,
    padding: Annotated[Padding, typer.Option(help="What stands beyond the border.")] = Padding.REFLECT,
    server: Server = None,
    model_repository: ModelRepository = None,
) -> None:
    """Slide a kernel over pictures and draw where it answers: blue below zero, white at zero, red above.

    Example: [bold]phosphene apply laplacian photo.jpg --output edges.png[/bold]
    """
    parsed = parse_kernel(kernel)
    with open_client(server, model_repository) as client:
        responses = client.apply_kernel(
            images,
            parsed,
            channels="per_channel" if per_channel else "gray",
            flip=flip,
            stride=stride,
            dilation=dilation,
            padding=padding.value,
            overlay=overlay,
        )
    for path, response in zip(_destinations(result, images), responses, strict=True):
        _save(response, path)


def _destinations(result: Path, images: list[Path]) -> list[Path]:
    """The file of each response; of several images, files in a folder, named and numbered as they are."""
    if len(images) == 1:
        return [result]
    folder = result.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    return [folder / f"{index:02d}-{image.stem}.png" for index, image in enumerate(images, start=1)]


def _save(response: KernelResponse, path: Path) -> None:
    (response.overlay or response.picture).save(path)
    shape, low, high = response.values.shape, response.values.min(), response.values.max()
    output().print(
        f"{path}: {shape[0]} x {shape[1]} x {shape[2]}, {low:.3g} to {high:.3g}; full colour at {response.scale:.3g}"
    )
