"""Control flow: which of two branches runs, how often a loop does, and what becomes of it in the graph.

What is known at import is decided at import. What is not becomes one of three things:

- A branch on the values of a tensor, or on the size of an input, is chosen when the graph runs (aten/branches.py). Both
  branches are run at import, from the same state; where they leave different things behind, in their results or in
  tensors and lists that they overwrite, the choice gives the one or the other.
- A branch on a size that the graph cannot choose, for example since there are layers in it, is decided by the example.
  So is the number of rounds of a loop. Whatever comes of that is tied to a guard, which checks at every evaluation that
  the answer is still the same.
- Everything else is refused.
"""

import operator
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from torch import Tensor

from phosphene_server.errors import PhospheneError, UnsupportedModel
from phosphene_server.models.importers.aten.branches import cut_branch, erase, last_node, nodes_after, write_choice
from phosphene_server.models.importers.aten.program import Program
from phosphene_server.models.importers.aten.variables import Variable
from phosphene_server.models.importers.torchscript.guards import Guard
from phosphene_server.models.importers.torchscript.merging import Merging, Outcome, observe
from phosphene_server.models.importers.torchscript.snapshots import Snapshot, replace_contents
from phosphene_server.models.importers.torchscript.values import is_unknown

FAILURES = (PhospheneError, RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, ArithmeticError)
"""What running a branch that the example would not take may end in."""

MUTATIONS = (
    *("aten::append", "aten::_set_item", "aten::extend", "aten::insert", "aten::pop", "aten::clear", "aten::reverse"),
    *("aten::sort", "aten::update", "aten::setdefault", "aten::Delete", "prim::SetAttr"),
)
CALLS = ("prim::CallMethod", "prim::CallFunction")


class Runner(Protocol):
    """What runs the blocks: a frame of the interpreter."""

    program: Program

    def run(self, block: Any, arguments: Sequence[Any]) -> list[Any]:
        """Run the nodes of a block and return its outputs."""

    def live_values(self) -> Iterator[Any]:
        """Yield the values of all calls that are running, and of the attributes that were read."""

    def save(self) -> Any:
        """Return what `restore` needs to forget what has run since."""

    def restore(self, saved: Any, *, keep_missing: bool) -> None:
        """Forget the layers and attributes, and maybe the missing operators, that were met since."""

    def check_attributes(self, saved: Any) -> None:
        """Refuse a write to an attribute that was not read before."""


def decide(program: Program, condition: Any) -> bool | None:
    """Return a condition's value, by the example where it depends on an input; None where nobody knows."""
    known = program.emit.example(condition.read() if isinstance(condition, Variable) else condition)
    if known is None or (isinstance(known, Tensor) and known.is_meta):
        return None
    return bool(known)


def run_branch(runner: Runner, blocks: Sequence[Any], condition: Any) -> list[Any]:
    """Run an `if` and return its results.

    Raises:
        UnsupportedModel: its branches cannot be brought together, or the example makes the original raise an error.
    """
    program = runner.program
    decided = decide(program, condition)
    raising = [raises(block) for block in blocks]
    if not is_open(program, condition):
        return runner.run(blocks[0 if decided else 1], [])
    if decided is not None and raising[0 if decided else 1]:
        raise UnsupportedModel("", "its code raises an error for this size of input")
    if any(raising):
        # The original would have ended here, so whoever goes on takes the other way.
        return runner.run(blocks[raising.index(False)], []) if not all(raising) else runner.run(blocks[0], [])
    return _Fork(runner, blocks, condition, decided).run()


def run_loop(runner: Runner, block: Any, count: Any, going: Any, carried: list[Any]) -> list[Any]:
    """Run a loop, whose number of rounds the example decides, and return the values that it carries.

    Raises:
        UnsupportedModel: the number of rounds depends on the values of a tensor.
    """
    emit = runner.program.emit
    rounds = emit.example(count)
    if not isinstance(rounds, int):
        raise UnsupportedModel("", "the number of rounds of a loop depends on the values of a tensor")
    snapshot: Snapshot | None = None
    assumption: Any = True
    if emit.is_open(count):
        snapshot = Snapshot(runner.live_values())
        assumption = emit.number(operator.eq, count, rounds)
    for index in range(rounds):
        decided = decide(runner.program, going)
        if decided is None:
            raise UnsupportedModel("", "how long a loop goes on depends on the values of a tensor")
        if is_open(runner.program, going):
            snapshot = snapshot or Snapshot(runner.live_values())
            assumption = emit.number(operator.and_, assumption, emit.number(operator.eq, going, decided))
        if not decided:
            break
        going, *carried = runner.run(block, [index, *carried])
    if snapshot is None:
        return carried
    guard = Guard(runner.program, assumption, True)
    guard.tie_effects(snapshot.overwritten(), snapshot.changed())
    return [guard.tie(value) for value in carried]


def is_open(program: Program, condition: Any) -> bool:
    """Whether a condition differs from input to input."""
    if isinstance(condition, Variable):
        return decide(program, condition) is None
    return program.emit.is_open(condition)


def raises(block: Any) -> bool:
    """Whether a block does nothing but raise an error in the end."""
    return any(node.kind() == "prim::RaiseException" for node in block.nodes())


def has_effects(block: Any) -> bool:
    """Whether running a block may change more than its results."""
    return any(
        node.kind() in MUTATIONS
        or node.kind() in CALLS
        or (node.kind().startswith("aten::") and node.kind().endswith("_"))
        or any(has_effects(inner) for inner in node.blocks())
        for node in block.nodes()
    )


def has_layers(block: Any) -> bool:
    """Whether modules are called in a block."""
    return any(
        (node.kind() == "prim::CallMethod" and node.s("name").startswith("forward"))
        or any(has_layers(inner) for inner in node.blocks())
        for node in block.nodes()
    )


class _Fork:
    """An `if` on what is not known at import."""

    def __init__(self, runner: Runner, blocks: Sequence[Any], condition: Any, decided: bool | None) -> None:
        self._runner = runner
        self._blocks = blocks
        self._condition = condition.read() if isinstance(condition, Variable) else condition
        self._decided = decided
        self._emit = runner.program.emit
        self._snapshot = Snapshot(runner.live_values())
        self._saved = runner.save()

    def run(self) -> list[Any]:
        taken = 1 if self._decided is False else 0
        other = self._try(1 - taken)
        self._snapshot.restore()
        outcome = self._attempt(taken)
        if other is not None and (self._decided is None or not any(has_layers(block) for block in self._blocks)):
            try:
                return self._choose(*((outcome, other) if taken == 0 else (other, outcome)))
            except UnsupportedModel:
                if self._decided is None:
                    raise
        return self._guard(outcome, other, self._blocks[1 - taken])

    def _try(self, index: int) -> Outcome | None:
        """Run the branch that the example does not take; None where that fails and need not succeed."""
        start = last_node(self._emit)
        try:
            outcome = self._attempt(index)
        except FAILURES:
            if self._decided is None:
                raise
            outcome = None
        region = nodes_after(self._emit, start)
        self._emit.forget(region)
        self._runner.restore(self._saved, keep_missing=self._decided is None)
        if outcome is None or (self._decided is not None and any(is_unknown(result) for result in outcome.results)):
            self._snapshot.restore()
            erase(self._emit, region)
            return None
        return outcome

    def _attempt(self, index: int) -> Outcome:
        start = last_node(self._emit)
        outcome = observe(self._runner.run(self._blocks[index], []), self._snapshot)
        self._runner.check_attributes(self._saved)
        outcome.region = nodes_after(self._emit, start)
        return outcome

    def _choose(self, first: Outcome, second: Outcome) -> list[Any]:
        """Replace both branches by a choice between them.

        Raises:
            UnsupportedModel: what they leave behind is not alike; nothing has been changed then.
        """
        merging = Merging(self._emit, self._snapshot)
        results = [merging.merge(*pair) for pair in zip(first.results, second.results, strict=True)]
        written = [(variable, merging.merge_memory(variable, first, second)) for variable in first.written(second)]
        contents = [(each, merging.merge_contents(each, first, second)) for each in first.changed(second)]
        branches = [cut_branch(each.region, merging.outputs(index)) for index, each in enumerate((first, second))]
        examples = merging.examples(None if self._decided is None else 0 if self._decided else 1)
        self._snapshot.restore()
        self._runner.restore(self._saved, keep_missing=True)
        for outcome in (first, second):
            erase(self._emit, outcome.region)
        if merging.pairs:
            merging.choice = write_choice(self._emit, self._condition, branches, examples)
        for variable, merged in written:
            merging.write(variable, merged)
        for container, merged in contents:
            replace_contents(container, merging.fill(merged))
        return [merging.fill(merged) for merged in results]

    def _guard(self, outcome: Outcome, other: Outcome | None, not_taken: Any) -> list[Any]:
        """Keep what the example decided, and check at every evaluation that it still decides so."""
        if other is None and has_effects(not_taken):
            raise UnsupportedModel("", "what it overwrites depends on the size of the input")
        other = other or Outcome([], [])
        erase(self._emit, other.region)
        guard = Guard(self._runner.program, self._condition, bool(self._decided))
        guard.tie_effects(outcome.written(other), outcome.changed(other))
        return [guard.tie(value) for value in outcome.live]
