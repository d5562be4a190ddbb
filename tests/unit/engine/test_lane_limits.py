from phosphene_server.engine.lane_limits import PATIENCE_TURNS, LaneLimits


def test_each_failure_halves_the_limit_of_its_group_down_to_one():
    limits = LaneLimits(64)
    seen = []
    for _ in range(8):
        limits.failed("g", lanes=limits.get("g"))
        seen.append(limits.get("g"))
    assert seen == [32, 16, 8, 4, 2, 1, 1, 1]
    assert limits.get("other") == 64


def test_a_small_batch_that_failed_is_halved_itself():
    limits = LaneLimits(64)
    limits.failed("g", lanes=6)
    assert limits.get("g") == 3


def test_the_limit_grows_again_after_long_success_and_not_before():
    limits = LaneLimits(8)
    limits.failed("g", lanes=8)
    limits.failed("g", lanes=4)
    seen = []
    for _ in range(2):
        for _ in range(PATIENCE_TURNS - 1):
            limits.succeeded("g")
        seen.append(limits.get("g"))
        limits.succeeded("g")
        seen.append(limits.get("g"))
    assert seen == [2, 4, 4, 8]


def test_a_group_that_is_gone_is_forgotten():
    limits = LaneLimits(8)
    limits.failed("g", lanes=8)
    limits.keep({"other"})
    assert limits.get("g") == 8
