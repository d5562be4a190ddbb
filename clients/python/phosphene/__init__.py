"""Phosphene shows what a neural network looks for: the Python client.

    import phosphene
    from phosphene import objectives

    with phosphene.launch() as client:
        client.extract_filters("shapes", layer="conv1").figure.save("filters.png")
        run = client.maximize("shapes", objectives.class_logit("star"), steps=256)
        for frame in run:
            frame.image.save(f"{frame.step}.png")

`launch` starts a server on this machine, `connect` speaks with one that runs already; `phosphene.aio` is the same,
asynchronous. Values are numpy arrays, Pillow images and frozen dataclasses.
"""

from phosphene import (
    aio,
    errors,
    objectives,
    optimizers,
    parameterizations,
    penalties,
    stop_rules,
    transforms,
)
from phosphene.client import Client, LayerRun, Run, connect, launch
from phosphene.errors import PhospheneError
from phosphene.filters import Filters, FilterStatistics
from phosphene.jobs import Maximization
from phosphene.kernels import KernelResponse, KernelResponses, LayerKernel, layer_kernel
from phosphene.layers import (
    ContactSheet,
    LayerFailure,
    LayerFrame,
    LayerPicture,
    LayerProgress,
    LayerResult,
    LayerSettings,
    LayerWarning,
)
from phosphene.maximizations import (
    Frame,
    MaximizationSettings,
    MaximizationWarning,
    Progress,
    Result,
)
from phosphene.models import Layer, Model, ModelReference, ModelSummary

__all__ = [
    "Client",
    "ContactSheet",
    "FilterStatistics",
    "Filters",
    "Frame",
    "KernelResponse",
    "KernelResponses",
    "Layer",
    "LayerFailure",
    "LayerFrame",
    "LayerKernel",
    "LayerPicture",
    "LayerProgress",
    "LayerResult",
    "LayerRun",
    "LayerSettings",
    "LayerWarning",
    "Maximization",
    "MaximizationSettings",
    "MaximizationWarning",
    "Model",
    "ModelReference",
    "ModelSummary",
    "PhospheneError",
    "Progress",
    "Result",
    "Run",
    "aio",
    "connect",
    "errors",
    "launch",
    "layer_kernel",
    "objectives",
    "optimizers",
    "parameterizations",
    "penalties",
    "stop_rules",
    "transforms",
]
