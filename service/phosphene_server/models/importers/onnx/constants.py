"""The tensors that are known at import, and where the graph keeps those that it reads."""

import torch
from torch import Tensor, fx

from phosphene_server.models.builder import GraphBuilder


class Constants:
    """What the known tensors of one graph are called, and the nodes that read them."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self._names: dict[int, str] = {}
        self._known: list[Tensor] = []
        self._placed: dict[int, fx.Node] = {}
        self._transposed: dict[int, Tensor] = {}
        self._tensors: set[tuple[str, ...]] = set()
        self._modules: set[tuple[str, ...]] = set()

    def name(self, tensor: Tensor, name: str) -> None:
        """Give a tensor the name under which it will be kept; the first name stays."""
        if id(tensor) not in self._names:
            self._names[id(tensor)] = name
            self._known.append(tensor)  # alive as long as its id is a key

    def name_of(self, tensor: Tensor) -> str | None:
        """Return the name of a tensor, None for one that was computed on the way."""
        return self._names.get(id(tensor))

    def place(self, tensor: Tensor, name: str) -> fx.Node:
        """Return a node that reads the tensor, which is kept under the name unless it was placed before."""
        self.name(tensor, name)
        if id(tensor) not in self._placed:
            value = tensor.to(torch.float32) if tensor.is_floating_point() else tensor
            self._placed[id(tensor)] = self.builder.tensor(self.unused(name), value)
        return self._placed[id(tensor)]

    def transposed(self, matrix: Tensor) -> Tensor:
        """Return a matrix with its axes exchanged, of the same name: the same tensor each time."""
        if id(matrix) not in self._transposed:
            result = matrix.t().contiguous()
            self._known.append(matrix)
            self._transposed[id(matrix)] = result
            own = self.name_of(matrix)
            if own is not None:
                self.name(result, own)
        return self._transposed[id(matrix)]

    def reference(self) -> fx.Node:
        """Return a node whose tensor has the device and floating-point type of the graph, whatever it is moved to."""
        if not hasattr(self, "_reference"):
            self._reference = torch.zeros(())
        return self.place(self._reference, "floating_point_reference")

    def unused(self, name: str) -> str:
        """Return a name whose place in the tree of modules is free.

        Different names of the file can spell the same place (`a/b` and `a_b`), and `a` cannot be a tensor where `a.b`
        makes it a module.
        """
        candidate, count = name, 0
        while True:
            path = tuple(_plain(part) for part in candidate.split("."))
            inner = {path[:depth] for depth in range(1, len(path))}
            if path not in self._tensors and path not in self._modules and inner.isdisjoint(self._tensors):
                self._tensors.add(path)
                self._modules |= inner
                return candidate
            count += 1
            # Without dots, since it may be the module that the name would be in that is not free.
            candidate = f"{name.replace('.', '_')}_{count}"


def _plain(part: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in part).lstrip("_")
