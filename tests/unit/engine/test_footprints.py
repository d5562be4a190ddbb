"""What is known of the memory that jobs take, and what is concluded from it."""

from dataclasses import dataclass, replace

import pytest
from engine_bench import make_job

from phosphene_server.engine.footprints import KNOWN_KINDS, Footprint, MemoryBook, kind_of
from phosphene_server.errors import InvalidArgument
from phosphene_server.values.image import ImageSize
from phosphene_server.values.maximization import (
    AdamOptimizer,
    ChannelObjective,
    JitterTransform,
    PadTransform,
    PixelParameterization,
    ResizeTransform,
    TotalVariationPenalty,
    Transforms,
    WeightedObjective,
    WeightedPenalty,
    WeightedSumObjective,
)

JOB = make_job("a")


@dataclass(eq=False)
class Running:
    lanes: int
    footprint: Footprint


def make_book(budget: int = 1000, *, models: int = 0) -> MemoryBook:
    return MemoryBook(budget, lambda: models)


def changed(**fields):
    return kind_of(replace(JOB, request=replace(JOB.request, **fields)))


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": 999, "seed": 5, "priority": 3, "pictures": 7},
        {"objective": ChannelObjective("conv", 17)},
        {"optimizer": AdamOptimizer(learning_rate=0.5)},
    ],
)
def test_numbers_make_no_new_kind(fields):
    assert changed(**fields) == kind_of(JOB)


def test_strength_of_a_transform_makes_no_new_kind():
    weak, strong = (changed(transforms=Transforms((JitterTransform(pixels=pixels),))) for pixels in (1, 9))
    assert weak == strong


@pytest.mark.parametrize(
    "fields",
    [
        {"objective": ChannelObjective("deeper")},
        {"objective": WeightedSumObjective((WeightedObjective(ChannelObjective("deeper")),))},
        {"size": ImageSize(64, 64)},
        {"precision": "bfloat16"},
        {"parameterization": PixelParameterization()},
        {"penalties": (WeightedPenalty(TotalVariationPenalty(), 1.0),)},
        {"transforms": Transforms((PadTransform(8),))},
        {"transforms": Transforms((ResizeTransform(ImageSize(32, 32)),))},
    ],
)
def test_what_changes_the_memory_is_a_kind_of_its_own(fields):
    assert changed(**fields) != kind_of(JOB)


def test_pads_and_sizes_seen_differ_by_their_numbers():
    pads = {changed(transforms=Transforms((PadTransform(pixels),))) for pixels in (1, 2)}
    sizes = {changed(transforms=Transforms((ResizeTransform(ImageSize(side, 32)),))) for side in (16, 32)}
    assert (len(pads), len(sizes)) == (2, 2)


def test_the_held_memory_adds_up_and_the_memory_of_a_step_is_that_of_the_largest():
    book = make_book(models=100)
    book.add(Running(2, Footprint(held=50, step=100)))
    book.add(Running(1, Footprint(held=50, step=300)))
    assert book.room_bytes == 1000 - 100 - 150
    assert book.lacking_bytes(4, Footprint(held=50, step=100)) == 0  # 200 held and a step of 400 beside 250
    assert book.lacking_bytes(5, Footprint(held=50, step=100)) == 0
    assert book.lacking_bytes(6, Footprint(held=50, step=100)) == 1150 - 1000


def test_what_ends_frees_its_memory():
    book = make_book()
    job = Running(3, Footprint(held=10, step=900))
    book.add(job)
    book.remove(job)
    assert book.room_bytes == 1000
    assert book.lacking_bytes(1, Footprint(held=100, step=900)) == 0


def test_no_two_lanes_of_an_unknown_kind_fit_into_one_step():
    book = make_book()
    assert 2 * book.guess(JOB).step > book.room_bytes


@pytest.mark.parametrize(("pictures", "field"), [(3, "pictures"), (1, "size")])
def test_what_never_fits_is_refused_with_the_reason(pictures, field):
    each = 400 if field == "pictures" else 2000
    job = replace(JOB, request=replace(JOB.request, pictures=pictures))
    with pytest.raises(InvalidArgument, match="memory_bytes") as caught:
        make_book().check(job, Footprint(step=each), alone=True)
    assert caught.value.field == field


def test_what_others_may_give_back_is_no_reason_to_refuse():
    make_book(models=900).check(JOB, Footprint(step=500), alone=False)
    with pytest.raises(InvalidArgument):
        make_book(models=900).check(JOB, Footprint(step=500), alone=True)


def test_old_kinds_are_forgotten():
    book = make_book()
    for number in range(KNOWN_KINDS + 10):
        book.learn(number, Footprint())
    assert [book.known(number) is None for number in (0, 9, 10)] == [True, True, False]
