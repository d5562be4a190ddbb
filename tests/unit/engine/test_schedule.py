from phosphene_server.engine.schedule import FairTurns


def play(turns: FairTurns, costs: dict[str, float], *, rounds: int) -> dict[str, int]:
    counts = dict.fromkeys(costs, 0)
    for _ in range(rounds):
        group = turns.next(list(costs))
        turns.charge(group, seconds=costs[group])
        counts[group] += 1
    return counts


def test_equal_groups_alternate():
    turns = FairTurns()
    order = []
    for _ in range(6):
        order.append(turns.next(["a", "b"]))
        turns.charge(order[-1], seconds=1.0)
    assert order == ["a", "b"] * 3


def test_groups_get_equal_time_whatever_a_step_costs():
    counts = play(FairTurns(), {"large": 1.0, "small": 0.01}, rounds=1010)
    assert counts["small"] * 0.01 == counts["large"] * 1.0


def test_a_group_that_joins_late_makes_up_for_nothing():
    turns = FairTurns()
    play(turns, {"old": 1.0}, rounds=1000)
    assert play(turns, {"old": 1.0, "new": 1.0}, rounds=100) == {"old": 50, "new": 50}


def test_a_group_that_left_and_came_back_starts_level():
    turns = FairTurns()
    play(turns, {"a": 1.0, "b": 1.0}, rounds=10)
    play(turns, {"b": 1.0}, rounds=500)
    assert play(turns, {"a": 1.0, "b": 1.0}, rounds=10) == {"a": 5, "b": 5}
