"""Sparse tensors of a file, which the graph holds dense."""

import math

import torch
from onnx import SparseTensorProto
from torch import Tensor

from phosphene_server.models.importers.onnx.tensors import read_tensor
from phosphene_server.models.importers.onnx.values import MAXIMUM_CONSTANT


def read_sparse_tensor(proto: SparseTensorProto) -> Tensor:
    """Return the values of a SparseTensorProto as a dense tensor.

    Its indices are positions in the flattened tensor, or (element, axis) coordinates.

    Raises:
        ValueError: the tensor would take gigabytes, or indices lie outside of it.
    """
    shape = tuple(proto.dims)
    volume = math.prod(shape)
    if volume > MAXIMUM_CONSTANT or min(shape, default=1) < 0:
        raise ValueError(f"a sparse tensor of shape {shape} is larger than {MAXIMUM_CONSTANT} elements")
    values, places = read_tensor(proto.values), read_tensor(proto.indices).long()
    if places.ndim == 2:
        steps = torch.tensor([math.prod(shape[axis + 1 :]) for axis in range(len(shape))])
        places = (places * steps).sum(dim=1)
    if places.numel() and not 0 <= int(places.min()) <= int(places.max()) < volume:
        raise ValueError(f"indices of a sparse tensor of shape {shape} lie outside of it")
    return torch.zeros(volume, dtype=values.dtype).scatter(0, places, values).reshape(shape)
