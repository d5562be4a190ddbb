import pytest
import torch
from torch import fx

from phosphene_server.errors import UnsupportedModel
from phosphene_server.models.importers.aten.program import Program
from phosphene_server.models.importers.aten.variables import Variable


def start() -> tuple[Program, Variable]:
    program = Program()
    return program, Variable(program.emit.input("x", torch.empty(2, 3, device="meta")))


def evaluate(program: Program, variable: Variable, x: torch.Tensor) -> torch.Tensor:
    program.builder.graph.output(variable.read())
    module = fx.GraphModule(program.builder.root, program.builder.graph)
    value: torch.Tensor = module(x)
    return value


def test_a_write_makes_a_new_node_and_leaves_the_old_one() -> None:
    program, x = start()
    before = x.read()
    assert program.run("relu_", {"self": x}, scope="") is x
    assert x.read() is not before
    assert before.op == "placeholder"


def test_a_write_to_a_view_changes_the_whole() -> None:
    program, x = start()
    view = program.run("select", {"self": x, "dim": 1, "index": 0}, scope="")
    program.run("zero_", {"self": view}, scope="")
    assert evaluate(program, x, torch.ones(2, 3)).tolist() == [[0, 1, 1], [0, 1, 1]]


def test_a_write_to_the_whole_changes_an_older_view() -> None:
    program, x = start()
    view = program.run("slice", {"self": x, "dim": 1, "start": 1, "end": 2, "step": 1}, scope="")
    program.run("mul_", {"self": x, "other": 5}, scope="")
    assert evaluate(program, view, torch.ones(2, 3)).tolist() == [[5], [5]]


def test_a_write_to_a_copy_changes_nothing_else() -> None:
    program, x = start()
    copy = program.run("clone", {"self": x}, scope="")
    program.run("zero_", {"self": copy}, scope="")
    assert x.read().op == "placeholder"


def test_reading_what_was_overwritten_through_an_unknown_view_is_refused() -> None:
    program, x = start()
    view = program.run("unfold", {"self": x, "dimension": 1, "size": 2, "step": 1}, scope="")
    program.run("zero_", {"self": view}, scope="")
    view.read()
    with pytest.raises(UnsupportedModel, match="unfold"):
        x.read()
