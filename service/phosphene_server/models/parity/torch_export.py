"""torch.export files, run as data: their own aten operators, one after the other, as PyTorch computes them.

`torch.export.load` would execute code that is in the file, so the JSON is interpreted here. It shares no operator with
the importer: every node is looked up in `torch.ops.aten` with its overload and called with the arguments of its schema,
and operators that write to their arguments do.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from phosphene_server.errors import first_line
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.aten.archive import read_archive
from phosphene_server.models.importers.aten.table import find_operator
from phosphene_server.models.importers.torch_export.archive import SCALAR_TYPES, parse
from phosphene_server.models.importers.torch_export.arguments import argument, names_in
from phosphene_server.models.importers.torch_export.importer import GUARDS, NUMBERS, TRAINED
from phosphene_server.models.importers.torch_export.modules import calls_by_end
from phosphene_server.models.parity.deviations import BFLOAT16_TOLERANCE, HALF_TOLERANCE, TOLERANCE, Array, array_of
from phosphene_server.models.parity.original import CannotRun

PREFIX = "torch.ops.aten."
TRAINING_ARGUMENTS = frozenset({"train", "training", "use_input_stats"})
"""Arguments that say whether an operator behaves as in training; networks are compared as in inference."""

Values = dict[str, Any]


class TorchExportOriginal:
    """An exported program in PyTorch's own operators."""

    def __init__(self, path: Path, name: str) -> None:
        """Take the file, and the model's name for errors."""
        self.runtime = f"torch {torch.__version__} (aten)"
        self._source = parse(read_archive(path, name=name), name=name)
        types = {tensor.dtype for tensor in self._source.tensors.values()}
        half, bfloat16 = torch.float16 in types, torch.bfloat16 in types
        self.tolerance = BFLOAT16_TOLERANCE if bfloat16 else HALF_TOLERANCE if half else TOLERANCE

    def outputs(self, inputs: Sequence[Tensor]) -> list[Array]:
        """Return the outputs; see `Original`."""
        values = self._run(inputs, lambda position, values: None)
        return [array_of(values[name]) for name in self._output_names() if isinstance(values[name], Tensor)]

    def layers(self, graph: ModelGraph, inputs: Sequence[Tensor]) -> Mapping[str, Array]:
        """Return the values of the module calls, each as it was when the call ended: later ones may overwrite it."""
        ending = calls_by_end(self._source.graph["nodes"], self._output_names())
        shown: dict[str, Array] = {}

        def keep(position: int, values: Values) -> None:
            for call in ending.get(position, ()):
                if call.name in graph.layers and isinstance(values[call.value], Tensor):
                    shown[call.name] = array_of(values[call.value].clone())

        self._run(inputs, keep)
        return shown

    def _run(self, inputs: Sequence[Tensor], after: Callable[[int, Values], None]) -> Values:
        """Run all nodes; `after` is told the position of each node and what is known by then."""
        try:
            values = self._placeholders(inputs)
            with torch.no_grad():
                for position, node in enumerate(self._source.graph["nodes"]):
                    self._step(node, values)
                    after(position, values)
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            raise CannotRun(f"PyTorch cannot run it on this input: {first_line(error)}") from error
        return values

    def _placeholders(self, inputs: Sequence[Tensor]) -> Values:
        values: Values = {}
        waiting = list(inputs)
        for specification in self._source.signature["input_specs"]:
            ((kind, content),) = specification.items()
            if kind == "user_input" and "as_tensor" in content["arg"]:
                name = content["arg"]["as_tensor"]["name"]
                if not waiting:
                    raise CannotRun(f"it has more inputs than the {len(inputs)} that are known")
                values[name] = self._as_declared(name, waiting.pop(0))
            elif kind in TRAINED:
                # A copy: the program may count its batches, and it runs more than once.
                values[content["arg"]["name"]] = self._source.tensors[content[TRAINED[kind]]].clone()
        return values

    def _as_declared(self, name: str, tensor: Tensor) -> Tensor:
        dtype = SCALAR_TYPES[self._source.graph["tensor_values"][name]["dtype"]]
        return tensor.detach().cpu().to(dtype, copy=True)

    def _output_names(self) -> list[str]:
        specifications = self._source.signature["output_specs"]
        return [name for each in specifications if "user_output" in each for name in names_in(each["user_output"])]

    def _step(self, node: Mapping[str, Any], values: Values) -> None:
        target = str(node["target"])
        name, _, overload = target.removeprefix(PREFIX).partition(".")
        if target in NUMBERS:
            result = NUMBERS[target](*(argument(entry["arg"], values.__getitem__) for entry in node["inputs"]))
        elif name in GUARDS:
            return
        elif not target.startswith(PREFIX) or find_operator(name) is None:
            raise CannotRun(f"{target} is not an operator that is known")
        else:
            operator = getattr(getattr(torch.ops.aten, name), overload)
            result = operator(**_arguments(node["inputs"], values))
        _keep(node["outputs"], result, values)


def _arguments(entries: Sequence[Mapping[str, Any]], values: Values) -> dict[str, Any]:
    """Return the arguments by name. What the importer leaves out, devices and layouts, is that of this process."""
    found: dict[str, Any] = {}
    # A normalization that keeps no statistics takes those of the batch, in inference too.
    without_statistics = any(entry["name"] == "running_mean" and "as_none" in entry["arg"] for entry in entries)
    for entry in entries:
        ((kind, _),) = entry["arg"].items()
        name = entry["name"]
        if name in TRAINING_ARGUMENTS:
            found[name] = without_statistics
        elif kind in HERE:
            found |= HERE[kind](name)
        else:
            found[name] = argument(entry["arg"], values.__getitem__)
    return found


HERE: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "as_device": lambda name: {name: torch.device("cpu")},
    "as_layout": lambda name: {name: torch.strided},
    "as_memory_format": lambda name: {},
}
"""Arguments that say where and how numbers lie in memory, which changes none of them."""


def _keep(outputs: Sequence[Mapping[str, Any]], result: Any, values: Values) -> None:
    """Give the results their names: one value, several values, or one list of tensors."""
    if len(outputs) == 1 and "as_tensors" in outputs[0]:
        names = [entry["name"] for entry in outputs[0]["as_tensors"]]
    else:
        names = [next(iter(names_in(output)), "") for output in outputs]
    results = result if isinstance(result, tuple | list) else [result]
    values.update(zip(names, results, strict=False))
