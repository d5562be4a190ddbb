"""Where models come from, with what the libraries themselves say of them.

library_model.py         what a library gives: a network, how it reads pictures, its classes, where it comes from
torchvision_models.py    torchvision:NAME
timm_models.py           timm:NAME
"""

from collections.abc import Callable, Mapping

from phosphene_server.workbench.libraries.library_model import LibraryModel
from phosphene_server.workbench.libraries.timm_models import timm_model
from phosphene_server.workbench.libraries.torchvision_models import torchvision_model

LIBRARIES: Mapping[str, Callable[[str, str], LibraryModel]] = {
    "torchvision": torchvision_model,
    "timm": timm_model,
}
"""Each library by the word before the colon. A function takes the model's name and the weights: `DEFAULT`, `none` for
random ones, or a name that the library knows."""

__all__ = ["LIBRARIES", "LibraryModel"]
