"""Tiny networks, built in the test, as loaded models."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import torch.nn.functional as F

from phosphene_server.models.builder import GraphBuilder
from phosphene_server.models.graph import FilterGeometry
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values.image import ImageSize
from phosphene_server.values.model import Model, ModelReference, Preprocessing
from phosphene_server.values.work import ModelSource

REFERENCE = ModelReference("tiny", "1", "onnx")
PREPROCESSING = Preprocessing("rgb", 0.0, 1.0, (0.0,) * 3, (1.0,) * 3, ImageSize(8, 8), False)


class TinyModel:
    """Builds a LoadedModel layer by layer; `node` is the value that the next layer reads."""

    def __init__(self):
        self.builder = GraphBuilder()
        self.node = self.builder.input("input")

    def layer(self, name, weight, bias=None, *, function=F.conv2d, kind="convolution", transposed=False, **arguments):
        names = [f"{name}.weight", f"{name}.bias" if bias is not None else None]
        tensors = [self.builder.tensor(names[0], weight)]
        tensors.append(self.builder.tensor(names[1], bias) if bias is not None else None)
        self.node = self.builder.call(function, self.node, *tensors, **arguments)
        geometry = FilterGeometry(*names, groups=arguments.get("groups", 1), transposed=transposed)
        self.builder.layer(name, kind, self.node, parameters=[part for part in names if part], filters=geometry)
        return self

    def then(self, function, *arguments):
        self.node = self.builder.call(function, self.node, *arguments)
        return self

    def constant(self, function, value):
        return self.then(function, self.builder.tensor(f"constant{value.numel()}", value))

    def named(self, name, kind):
        self.builder.layer(name, kind, self.node)
        return self

    def build(self, preprocessing=PREPROCESSING):
        graph = self.builder.build([self.node], input_specifications=[], output_specifications=[])
        source = ModelSource(REFERENCE, Path("model.onnx"), "", 0, "", preprocessing, (), "")
        model = Model(REFERENCE, "", "", 0, "", (), (), preprocessing, (), "", 0, (), None, 0.0)
        return LoadedModel(source, graph, model, torch.device("cpu"))


@pytest.fixture
def tiny():
    return TinyModel


@pytest.fixture
def read():
    """The pixels of an encoded picture."""

    def pixels(encoded):
        image = PIL.Image.open(io.BytesIO(encoded.data))
        return np.asarray(image.convert("RGB") if image.mode == "P" else image)

    return pixels
