"""The options of the commands that draw pictures: how each picture is made, and what share of the server it gets."""

from enum import StrEnum
from typing import Annotated

import typer

from phosphene import maximizations, parameterizations


class ParameterizationName(StrEnum):
    """How a picture is made of numbers."""

    FOURIER = "fourier"
    PIXELS = "pixels"


class PrecisionName(StrEnum):
    """How exactly the network is computed."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


Steps = Annotated[int | None, typer.Option(help="The number of steps.", show_default="256")]
Size = Annotated[
    str, typer.Option(metavar="96 or 96x128", help="Height and width in pixels.", show_default="the model's own")
]
Parameterization = Annotated[
    ParameterizationName, typer.Option(help="What the optimizer moves: a spectrum, or the pixels themselves.")
]
Transforms = Annotated[
    bool, typer.Option("--transforms/--no-transforms", help="Shift, scale and turn the picture at every step.")
]
LearningRate = Annotated[float | None, typer.Option(help="The size of a step.", show_default="0.05")]
Priority = Annotated[
    int | None,
    typer.Option(help="The weight of this job's share of the device, 1 to the server's limit.", show_default="1"),
]
Precision = Annotated[
    PrecisionName | None,
    typer.Option(
        help="How exactly the network is computed; bfloat16 is faster where the device multiplies it natively.",
        show_default="float32",
    ),
]
FixedInputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="NAME=NUMBER or NAME=FILE.npy",
        help="What an input of the model that is no picture gets; may be given several times.",
        show_default=False,
    ),
]


def chosen_parameterization(name: ParameterizationName) -> parameterizations.Parameterization | None:
    """The parameterization of a name; None for the server's default, which is Fourier."""
    return parameterizations.pixels() if name is ParameterizationName.PIXELS else None


def chosen_precision(name: PrecisionName | None) -> maximizations.Precision | None:
    """The precision of a name; None for the server's default."""
    return None if name is None else name.value
