"""Streams of random numbers."""

from phosphene_server.maximization.randomness import Purpose, generator, torch_generator


def test_streams_differ_by_seed_picture_purpose_and_block() -> None:
    keys = [
        (seed, picture, purpose, block)
        for seed in (0, 2**64 - 1)
        for picture in (0, 1)
        for purpose in Purpose
        for block in (0, 1)
    ]
    draws = {tuple(generator(seed, picture=p, purpose=u, block=b).random(4)) for seed, p, u, b in keys}
    assert len(draws) == len(keys)


def test_a_stream_is_the_same_whenever_it_is_asked_for() -> None:
    first, second = (generator(5, picture=2, purpose=Purpose.PHOTOMETRY, block=9) for _ in range(2))
    assert torch_generator(first).initial_seed() == torch_generator(second).initial_seed()
    assert first.random(3).tolist() == second.random(3).tolist()
