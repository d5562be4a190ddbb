"""The table of short tasks. Adding one: a dataclass in `values/work.py`, a function and a line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from phosphene_server.engine.device import device_errors
from phosphene_server.engine.library import ModelLibrary
from phosphene_server.filters.application import apply_kernel
from phosphene_server.filters.extraction import extract_filters
from phosphene_server.maximization.preparation import prepare
from phosphene_server.models.loaded import LoadedModel
from phosphene_server.values.filter import ExtractFiltersResponse
from phosphene_server.values.kernel import ApplyKernelResponse
from phosphene_server.values.maximization import MaximizeActivationRequest
from phosphene_server.values.model import Model
from phosphene_server.values.work import (
    ApplyKernel,
    BetweenSteps,
    DescribeModel,
    ExtractFilters,
    PrepareMaximization,
    Task,
    TaskReply,
    UnloadModel,
    at_once,
)


@dataclass(frozen=True)
class Workplace:
    """What tasks work with."""

    library: ModelLibrary[LoadedModel]
    device: torch.device
    between_steps: BetweenSteps = at_once
    """Does the parts of tasks that need the device, where these are done beside the steps."""


def _describe_model(task: DescribeModel, place: Workplace) -> Model:
    return place.library.get(task.source).model


def _unload_model(task: UnloadModel, place: Workplace) -> bool:
    return place.library.unload(task.reference)


def _extract_filters(task: ExtractFilters, place: Workplace) -> ExtractFiltersResponse:
    return extract_filters(place.library.get(task.source), task.request, between_steps=place.between_steps)


def _apply_kernel(task: ApplyKernel, place: Workplace) -> ApplyKernelResponse:
    model = None if task.source is None else place.library.get(task.source)
    return apply_kernel(task.request, model, place.device, between_steps=place.between_steps)


def _prepare_maximization(task: PrepareMaximization, place: Workplace) -> MaximizeActivationRequest:
    return prepare(place.library.get(task.source), task.request)


# Any: each handler takes the type that stands before it, which a mapping cannot say.
HANDLERS: Mapping[type, Callable[[Any, Workplace], TaskReply]] = {
    DescribeModel: _describe_model,
    UnloadModel: _unload_model,
    ExtractFilters: _extract_filters,
    ApplyKernel: _apply_kernel,
    PrepareMaximization: _prepare_maximization,
}


def run_task(task: Task, place: Workplace) -> TaskReply:
    """Do a task.

    Raises:
        PhospheneError: what is wrong with the request or its model.
    """
    with device_errors():
        return HANDLERS[type(task)](task, place)
