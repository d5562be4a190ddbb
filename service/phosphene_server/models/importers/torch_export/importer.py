"""A file of torch.export -> a ModelGraph."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from phosphene_server.errors import DamagedModel, UnsupportedModel
from phosphene_server.models.graph import ModelGraph
from phosphene_server.models.importers.aten.archive import read_archive
from phosphene_server.models.importers.aten.closing import close
from phosphene_server.models.importers.aten.program import Program
from phosphene_server.models.importers.aten.shapes import Several
from phosphene_server.models.importers.aten.table import find_operator
from phosphene_server.models.importers.aten.variables import Variable, read_all
from phosphene_server.models.importers.torch_export.archive import ExportedProgram, parse
from phosphene_server.models.importers.torch_export.arguments import argument, example, names_in
from phosphene_server.models.importers.torch_export.modules import calls_by_end, scopes
from phosphene_server.models.importers.torch_export.subgraphs import CHOICE, inlined
from phosphene_server.models.importers.torch_export.trees import leaf_names

NUMBERS: Mapping[str, Callable[..., Any]] = {
    "_operator.add": operator.add,
    "_operator.sub": operator.sub,
    "_operator.mul": operator.mul,
    "_operator.floordiv": operator.floordiv,
    "_operator.truediv": operator.truediv,
    "_operator.mod": operator.mod,
    "_operator.pow": operator.pow,
    "_operator.neg": operator.neg,
    "_operator.pos": operator.pos,
    "_operator.eq": operator.eq,
    "_operator.ne": operator.ne,
    "_operator.lt": operator.lt,
    "_operator.le": operator.le,
    "_operator.gt": operator.gt,
    "_operator.ge": operator.ge,
    "_operator.and_": operator.and_,
    "_operator.or_": operator.or_,
    "math.trunc": math.trunc,
    "torch.sym_int": int,
    "torch.sym_float": float,
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_not": operator.not_,
    "torch.sym_sqrt": math.sqrt,
}
"""Operators of numbers that depend on the size of the input."""

GUARDS = frozenset(
    {
        "_assert_scalar",
        "_assert_async",
        "_assert_tensor_metadata",
        "sym_constrain_range",
        "sym_constrain_range_for_size",
    }
)
"""Checks that the input is like the one that was exported with; the graph accepts what its operations accept."""


def import_torch_export(path: Path, *, name: str) -> ModelGraph:
    """Read an exported program, with dynamic or static shapes.

    The file is read as data: nothing in it is unpickled or evaluated. Layers are named as in the author's
    `named_modules()`; a module that is called again appears as `relu`, `relu@1`, `relu@2`. A module that does nothing,
    for example `nn.Identity`, leaves no trace in such a file.

    Args:
        path: The archive that `torch.export.save` of PyTorch 2.8 or later wrote.
        name: The model's name, for messages.

    Raises:
        DamagedModel: the archive cannot be read or contradicts itself.
        UnsupportedModel: pickled tensors, another schema, or operators that the table lacks; all of them are named.
    """
    entries = read_archive(path, name=name)
    try:
        program = parse(entries, name=name)
        nodes = inlined(program.graph)
        _check_operators(nodes)
        return _Reader(program, nodes).read()
    except UnsupportedModel as error:
        error.model = name
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise DamagedModel(name, f"its program cannot be read: {type(error).__name__}: {error}") from error


def _check_operators(nodes: Sequence[Mapping[str, Any]]) -> None:
    missing: dict[str, list[str]] = {}
    for node in nodes:
        target = node["target"]
        known = target in NUMBERS or target == CHOICE or _operator_name(target) in GUARDS
        if not known and find_operator(_operator_name(target)) is None:
            missing.setdefault(target, []).append(".".join(scopes(node)[-1:]) or str(node.get("name") or target))
    if missing:
        rows = tuple((target, tuple(dict.fromkeys(places))) for target, places in sorted(missing.items()))
        raise UnsupportedModel("", "its graph has operators that the importer lacks", rows)


def _operator_name(target: str) -> str:
    """Return `conv2d` for `torch.ops.aten.conv2d.default`, `space.operator` for an operator of another namespace."""
    namespace, _, operator = target.removeprefix("torch.ops.").partition(".")
    plain = operator.partition(".")[0]
    return plain if namespace == "aten" else f"{namespace}.{plain}"


class _Reader:
    """Runs the operations of an exported program into a graph."""

    def __init__(self, source: ExportedProgram, nodes: Sequence[Mapping[str, Any]]) -> None:
        self._source = source
        self._nodes = nodes
        self._program = Program()
        self._values: dict[str, Any] = {}
        self._trained: dict[str, str] = {}

    def read(self) -> ModelGraph:
        input_names = self._take_inputs()
        outputs = self._outputs()
        ending = calls_by_end(self._nodes, [value for _, value in outputs])
        for position, node in enumerate(self._nodes):
            self._run(node)
            for call in ending.get(position, ()):
                self._program.layers.module(call.name, self._look(call.value).read(), parent=call.parent)
        results = [(name, self._look(value)) for name, value in outputs]
        tensors = [(name, value) for name, value in results if isinstance(value, Variable)]
        producer = f"PyTorch {self._source.torch_version} (torch.export)"
        return close(self._program, tensors, input_names=input_names, producer=producer)

    def _take_inputs(self) -> list[str]:
        """Take the specifications of the inputs: which are trained, which the caller gives."""
        names = []
        for specification in self._source.signature["input_specs"]:
            ((kind, content),) = specification.items()
            if kind == "user_input":
                names.append(self._take_user_input(content["arg"]))
            elif kind in TRAINED:
                self._trained[content["arg"]["name"]] = content[TRAINED[kind]]
            elif kind == "constant_input":
                pass  # A number or word that was fixed by the export.
            else:
                raise UnsupportedModel("", f"it has an input of the kind {kind}")
        return names

    def _take_user_input(self, document: Mapping[str, Any]) -> str:
        if "as_tensor" not in document:
            given = ", ".join(names_in(document)) or str(document)
            raise UnsupportedModel("", f"its input {given} is no tensor; export it with a fixed value in its place")
        name = str(document["as_tensor"]["name"])
        node = self._program.emit.input(name, example(self._source.graph["tensor_values"][name]))
        self._values[name] = Variable(node)
        return name

    def _outputs(self) -> list[tuple[str, str]]:
        """Return the author's names of the results, and the program's."""
        specifications = self._source.signature["output_specs"]
        returned = [each["user_output"]["arg"] for each in specifications if "user_output" in each]
        names = leaf_names(self._source.output_tree, name="output")
        pairs = zip(names, returned, strict=True)
        return [(name, value["as_tensor"]["name"]) for name, value in pairs if "as_tensor" in value]

    def _look(self, name: str) -> Any:
        if name not in self._values and name in self._trained:
            target = self._trained[name]
            self._values[name] = Variable(self._program.emit.tensor(target, self._source.tensors[target]))
        return self._values[name]

    def _run(self, node: Mapping[str, Any]) -> None:
        target = node["target"]
        if _operator_name(target) in GUARDS:
            return
        arguments = [(entry["name"], argument(entry["arg"], self._look)) for entry in node["inputs"]]
        if target in NUMBERS:
            result = self._program.emit.number(NUMBERS[target], *(value for _, value in arguments))
        elif target == CHOICE:
            result = Variable(self._program.emit.call(choose, *(read_all(value) for _, value in arguments)))
        else:
            scope = scopes(node)[-1:] or ("",)
            result = self._program.run(_operator_name(target), dict(arguments), scope=scope[0])
        self._keep(node["outputs"], result)

    def _keep(self, outputs: list[Mapping[str, Any]], result: Any) -> None:
        """Give the results their names: one value, several values, or one list of tensors."""
        if len(outputs) == 1 and "as_tensors" in outputs[0]:
            parts = [entry["name"] for entry in outputs[0]["as_tensors"]]
        else:
            parts = [next(iter(names_in(output)), "") for output in outputs]
        if isinstance(result, Several):
            result = [self._program.item(result, index) for index in range(len(parts))]
        values = result if isinstance(result, tuple | list) else [result]
        self._values.update(zip(parts, values, strict=False))


def choose(condition: Tensor | bool, first: Tensor, second: Tensor) -> Tensor:
    """Return the first value if a condition holds, otherwise the second; a condition without numbers holds."""
    unknown = isinstance(condition, Tensor) and condition.is_meta
    return first if unknown or condition else second


TRAINED: Mapping[str, str] = {
    "parameter": "parameter_name",
    "buffer": "buffer_name",
    "tensor_constant": "tensor_constant_name",
}
"""The kinds of inputs that the file brings along, and where they say the author's name."""
