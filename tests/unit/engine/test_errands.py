"""How tasks with pictures are done beside the steps."""

import threading
import time

import numpy as np
import pytest
from engine_bench import Bench, make_job, make_source

from phosphene_server.engine.errands import ERRANDS, LARGE_THREADS, SMALL_BYTES, Errands, LoopEnded, is_small
from phosphene_server.engine.failures import DeviceLost
from phosphene_server.errors import InternalError
from phosphene_server.settings import Settings
from phosphene_server.values.filter import ExtractFiltersRequest
from phosphene_server.values.image import EncodedImage, TensorImage
from phosphene_server.values.kernel import ApplyKernelRequest, NamedKernel
from phosphene_server.values.work import ApplyKernel, ExtractFilters, JobFinished

PICTURE = TensorImage(np.zeros((3, 4, 4), np.float32))
ERRAND = ApplyKernel(None, ApplyKernelRequest((PICTURE,), NamedKernel("box")))
LARGE_PICTURE = TensorImage(np.zeros((SMALL_BYTES // 4, 2), np.float32))
LARGE_ERRAND = ApplyKernel(None, ApplyKernelRequest((LARGE_PICTURE,), NamedKernel("box")))


def errand_of(model):
    return ExtractFilters(make_source(model), ExtractFiltersRequest(make_source(model).reference, "conv"))


@pytest.fixture
def answered(bench):
    """Asks for a task at a step and returns what is told of it; runs the bench until then."""

    def ask(task, *, at_step=2):
        answers, done = [], threading.Event()

        def hear(answer):
            answers.append((len(bench.maximizer.batches), answer))
            done.set()

        def begin():
            if len(bench.maximizer.batches) == at_step:
                bench.engine.do(task, hear)

        bench.maximizer.before_step = begin
        bench.submit(make_job("a", steps=10**6))
        loop = threading.Thread(target=bench.engine.run)
        loop.start()
        assert done.wait(10)
        bench.engine.stop()
        loop.join(10)
        return answers[0]

    return ask


def test_tasks_with_pictures_are_errands():
    assert set(ERRANDS) == {ApplyKernel, ExtractFilters}


def test_steps_go_on_while_an_errand_compresses(bench, answered):
    def run(task, between_steps):
        before = len(bench.maximizer.batches)
        while len(bench.maximizer.batches) < before + 5:
            time.sleep(0.001)
        return True

    bench.run_task = run
    assert answered(ERRAND)[1] is True


@pytest.mark.parametrize("task", [ERRAND, errand_of("paper"), errand_of("missing")])
def test_parts_of_an_errand_are_done_by_the_loop_between_two_steps(bench, answered, task):
    threads, steps = [], []

    def part():
        threads.append(threading.current_thread())
        steps.append(len(bench.maximizer.batches))
        return len(steps)

    bench.models.missing.add("missing")
    bench.run_task = lambda task, between_steps: [between_steps(part) for _ in range(3)]
    assert answered(task)[1] == [1, 2, 3]
    assert len(set(threads)) == 1
    assert threads[0].name != "errand_0"
    assert steps == sorted(set(steps)), "a step comes between two parts"


@pytest.mark.parametrize("task", [ERRAND, errand_of("paper")])
def test_part_of_an_errand_waits_for_one_step_at_most(bench, task):
    done_at = []

    def ask() -> None:
        if len(bench.maximizer.batches) == 3:
            bench.engine.do(task, lambda answer: None)
            while bench.engine._inbox.empty():  # until its part has come, while this step is made
                time.sleep(0.001)

    bench.run_task = lambda task, between_steps: between_steps(lambda: done_at.append(len(bench.maximizer.batches)))
    bench.maximizer.before_step = ask
    bench.submit(make_job("a", steps=10))
    bench.run()
    assert done_at == [4]


def test_what_a_part_raises_reaches_the_errand_and_the_loop_goes_on(bench, answered):
    def run(task, between_steps):
        with pytest.raises(ZeroDivisionError):
            between_steps(lambda: 1 / 0)
        return between_steps(lambda: True)

    bench.run_task = run
    assert answered(ERRAND)[1] is True


def test_an_errand_that_fails_is_answered_without_internals(bench, answered):
    def run(task, between_steps):
        raise ValueError("secret detail of the errand")

    bench.run_task = run
    error = answered(ERRAND)[1]
    assert isinstance(error, InternalError)
    assert "secret" not in str(error)


def test_model_of_an_errand_is_held_until_it_is_done(bench, answered):
    held = []
    bench.run_task = lambda task, between_steps: held.append("other" in bench.models.holds) or True
    answered(errand_of("other"))
    assert held == [True]
    assert "other" not in bench.models.holds


def test_large_errands_run_beside_each_other_up_to_their_number(bench):
    together = threading.Barrier(LARGE_THREADS)
    answers = []
    bench.run_task = lambda task, between_steps: together.wait(10) >= 0
    for _ in range(2 * LARGE_THREADS):
        bench.engine.do(LARGE_ERRAND, answers.append)
    bench.engine._errands._large.shutdown()
    assert answers == [True] * (2 * LARGE_THREADS)


def test_small_errands_do_not_wait_for_large_ones(bench):
    may_end, answered = threading.Event(), []
    bench.run_task = lambda task, between_steps: is_small(task) or may_end.wait(10)
    for _ in range(5):
        bench.engine.do(LARGE_ERRAND, answered.append)
    for errand in (ERRAND, errand_of("paper")):
        done = threading.Event()
        bench.engine.do(errand, lambda answer, done=done: done.set())
        assert done.wait(10)
    assert answered == []
    may_end.set()


@pytest.mark.parametrize(
    ("images", "small"),
    [
        ((EncodedImage(bytes(SMALL_BYTES)),), True),
        ((EncodedImage(bytes(SMALL_BYTES)), EncodedImage(b"x")), False),
        ((TensorImage(np.zeros((SMALL_BYTES // 64, 16), np.float32)),), True),
        ((TensorImage(np.zeros((SMALL_BYTES // 64, 17), np.float32)),), False),
    ],
)
def test_the_pictures_of_a_request_say_whether_it_is_small(images, small):
    assert is_small(ApplyKernel(None, ApplyKernelRequest(images, NamedKernel("box")))) is small


def test_a_device_that_is_lost_in_an_errand_ends_the_loop(bench):
    def run(task, between_steps):
        between_steps(lambda: (_ for _ in ()).throw(DeviceLost("gone")))

    bench.run_task = run
    bench.engine.do(ERRAND, lambda answer: None)
    with pytest.raises(DeviceLost):
        bench.engine.run()


def test_an_errand_ends_with_the_loop(bench):
    begun, ended = threading.Event(), threading.Event()

    def run(task, between_steps):
        begun.set()
        try:
            while True:
                between_steps(lambda: None)
        except LoopEnded:
            ended.set()
            raise

    bench.run_task = run
    answers = []
    bench.engine.do(ERRAND, answers.append)
    threading.Thread(target=lambda: (begun.wait(10), bench.engine.stop())).start()
    bench.engine.run()
    assert ended.wait(10)
    assert answers == []


def test_part_that_waits_when_the_loop_ends_is_given_up():
    errands = Errands(lambda part: None, on_loss=lambda error: None)
    raised = threading.Event()

    def errand(between_steps):
        try:
            between_steps(lambda: None)
        except LoopEnded:
            raised.set()

    errands.begin(errand, small=True)
    while not errands._waiting:
        time.sleep(0.001)
    errands.close()
    assert raised.wait(10)


def test_jobs_end_beside_errands():
    bench = Bench(Settings())
    bench.run_task = lambda task, between_steps: between_steps(lambda: True)
    for _ in range(20):
        bench.engine.do(ERRAND, lambda answer: None)
    bench.submit(make_job("a", steps=5))
    bench.run()
    assert isinstance(bench.events[-1], JobFinished)
