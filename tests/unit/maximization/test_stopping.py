"""Stop rules."""

import numpy as np
import pytest
import torch

from phosphene_server.maximization.readback import Trace
from phosphene_server.maximization.stopping import STOP_RULES, stop_reason
from phosphene_server.values import maximization as values

RISING = np.arange(20.0)[:, None] * [1.0, 2.0]
FLAT = np.ones((20, 2))


def test_an_ascent_goes_on_until_its_last_step() -> None:
    assert stop_reason(RISING, (), steps=21) is None
    assert stop_reason(RISING, (), steps=20) == "steps"


def test_the_target_must_be_reached_by_every_picture() -> None:
    assert stop_reason(RISING, (values.TargetStopRule(19.0),), steps=100) == "target"
    assert stop_reason(RISING, (values.TargetStopRule(19.5),), steps=100) is None


def test_a_plateau_is_where_no_picture_rises() -> None:
    rule = values.PlateauStopRule(window=8, tolerance=0.0)
    assert stop_reason(FLAT, (rule,), steps=100) == "plateau"
    assert stop_reason(np.column_stack([FLAT[:, 0], RISING[:, 0]]), (rule,), steps=100) is None


def test_a_plateau_needs_two_full_windows() -> None:
    assert stop_reason(FLAT[:15], (values.PlateauStopRule(window=8),), steps=100) is None
    assert stop_reason(FLAT[:16], (values.PlateauStopRule(window=8),), steps=100) == "plateau"


@pytest.mark.parametrize(("rise", "reason"), [(0.05, "plateau"), (0.2, None)])
def test_a_rise_within_the_tolerance_is_none_also_below_zero(rise: float, reason: str | None) -> None:
    history = np.concatenate([np.full((4, 1), -1.0), np.full((4, 1), -1.0 + rise)])
    assert stop_reason(history, (values.PlateauStopRule(window=4, tolerance=0.1),), steps=100) == reason


def test_a_rule_comes_before_the_last_step_and_nothing_stops_before_the_first() -> None:
    rule = values.TargetStopRule(0.5)
    assert stop_reason(FLAT, (rule,), steps=20) == "target"
    assert stop_reason(np.empty((0, 2)), (rule, values.PlateauStopRule(4)), steps=20) is None


def test_the_table_has_every_kind_of_rule_that_a_request_may_name() -> None:
    union = values.StopRule.__origin__  # type: ignore[attr-defined]  # of Annotated
    assert set(STOP_RULES) == {case.kind for case in union.__args__}


def test_the_host_looks_at_steps_as_far_behind_as_it_is_told() -> None:
    trace = Trace(np.empty((0, 2)), steps=5, behind=2)
    seen = []
    for number in range(4):
        trace.add(torch.tensor([number, -number]))
        seen.append(trace.known(whole=False)[:, 0].tolist())
    assert seen == [[], [], [0], [0, 1]]
    assert trace.known(whole=True).tolist() == [[0, 0], [1, -1], [2, -2], [3, -3]]


@pytest.mark.parametrize("restored_at", range(6))
def test_a_trace_that_was_restored_tells_what_the_first_one_would_have(restored_at: int) -> None:
    def told(trace: Trace, first: int) -> list[int]:
        known = []
        for row in RISING[first:6]:
            trace.add(torch.from_numpy(row))
            known.append(len(trace.known(whole=False)))
        return known

    whole = told(Trace(RISING[:0], steps=6, behind=2), 0)
    assert told(Trace(RISING[:restored_at], steps=6, behind=2), restored_at) == whole[restored_at:]
