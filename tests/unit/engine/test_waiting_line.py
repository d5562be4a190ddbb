"""In which order jobs are started: priority, ageing, and the places of one owner."""

from dataclasses import dataclass

import pytest

from phosphene_server.engine.waiting_line import AGEING_SECONDS, rank, start_order


@dataclass(frozen=True)
class FakeWaiting:
    name: str
    arrival: float = 0.0
    priority: int = 1
    lanes: int = 1
    belongs_to: str = ""

    @property
    def owner(self) -> str:
        return self.belongs_to or self.name

    @property
    def rank(self) -> float:
        return rank(arrival_seconds=self.arrival, priority=self.priority)


def order(*waiting: FakeWaiting, held=(), lanes_of_owner=8) -> tuple[str, str]:
    ready, later = start_order(waiting, held=dict(held), lanes_of_owner=lanes_of_owner)
    return " ".join(job.name for job in ready), " ".join(job.name for job in later)


def test_who_came_first_starts_first():
    assert order(FakeWaiting("a", 1.0), FakeWaiting("b", 2.0), FakeWaiting("c", 2.0)) == ("a b c", "")


def test_a_higher_priority_goes_first():
    assert order(FakeWaiting("a", 1.0), FakeWaiting("b", 2.0, priority=2)) == ("b a", "")


@pytest.mark.parametrize("priority", [2, 3, 4])
def test_nobody_is_overtaken_by_those_who_come_much_later(priority):
    bound = AGEING_SECONDS * (priority - 1)
    old = FakeWaiting("old", 0.0)
    assert order(old, FakeWaiting("urgent", bound - 1, priority=priority)) == ("urgent old", "")
    assert order(old, FakeWaiting("urgent", bound + 1, priority=priority)) == ("old urgent", "")


def test_endless_urgent_arrivals_hold_up_a_job_for_a_bounded_time_only():
    """One job starts each second, and one of the highest priority comes each second."""
    waiting = [FakeWaiting("patient", 0.0)]
    for second in range(1000):
        waiting.append(FakeWaiting(f"urgent{second}", float(second), priority=4))
        first = start_order(waiting, held={}, lanes_of_owner=8)[0][0]
        waiting.remove(first)
        if first.name == "patient":
            break
    assert second <= 3 * AGEING_SECONDS + 1


def test_an_owner_with_all_its_places_taken_lets_others_pass():
    layer = [FakeWaiting(f"l{number}", 0.0, belongs_to="layer") for number in range(3)]
    assert order(*layer, FakeWaiting("single", 9.0), held={"layer": 7}) == ("l0 single", "l1 l2")


def test_a_younger_job_of_an_owner_does_not_pass_its_older_one():
    wide = FakeWaiting("wide", 0.0, lanes=4, belongs_to="layer")
    narrow = FakeWaiting("narrow", 1.0, lanes=1, belongs_to="layer")
    assert order(wide, narrow, held={"layer": 6}) == ("", "wide narrow")


def test_a_job_larger_than_the_places_of_an_owner_starts_when_the_owner_has_nothing_else():
    assert order(FakeWaiting("wide", lanes=64)) == ("wide", "")
