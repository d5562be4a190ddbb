"""What one job tells, and in which order."""

import threading

import numpy as np
from engine_bench import Bench, make_job

from phosphene_server.engine.job import WAITING_EVENTS
from phosphene_server.errors import InternalError
from phosphene_server.settings import Settings
from phosphene_server.values.maximization import MaximizationWarning
from phosphene_server.values.work import JobCheckpointed, JobFailed, JobFinished, JobFramed, JobProgressed, JobWarned


def test_a_job_ends_with_a_result_that_has_all_it_found(bench):
    bench.submit(make_job("a", steps=3))
    result = bench.run()[-1].result
    assert (result.step, result.stop_reason, result.objective) == (3, "steps", (3.5,))
    assert result.images[0].data == b"\x03"
    assert result.images[0].media_type == "image/png"
    np.testing.assert_array_equal(result.history, [[1.0], [2.0], [3.0]])
    assert result.tensors == ()
    assert abs(result.duration - 0.03) < 1e-9


def test_the_first_event_says_that_the_job_runs_and_the_last_progress_is_complete(bench):
    bench.submit(make_job("a", steps=10))
    progress = [event.progress for event in bench.run() if isinstance(event, JobProgressed)]
    assert (progress[0].step, progress[0].queue_position) == (0, 0)
    assert [report.step for report in progress[1:]] == [3, 6, 9, 10]
    assert progress[-1].objective == (10.0,)
    assert abs(progress[-1].steps_per_second - 100.0) < 1e-6
    assert progress[-1].remaining == 0.0


def test_frames_come_at_their_steps_in_order_and_before_the_result(bench):
    bench.maximizer.before_step = bench.wait_for_encoders
    bench.submit(make_job("a", steps=8, every_steps=2))
    events = bench.run()
    frames = [event.frame for event in events if isinstance(event, JobFramed)]
    assert [(frame.step, frame.images[0].data, frame.objective) for frame in frames] == [
        (step, bytes([step]), (float(step),)) for step in (2, 4, 6, 8)
    ]
    assert frames[0].images[0].media_type == "image/webp"
    assert isinstance(events[-1], JobFinished)


def test_events_come_in_the_order_of_their_steps_although_frames_are_compressed_elsewhere(bench):
    bench.submit(make_job("a", steps=12, every_steps=1))
    bench.run()
    steps = [event.progress.step for event in bench.of("a", JobProgressed)]
    told = [
        event.progress.step if isinstance(event, JobProgressed) else event.frame.step for event in bench.events[:-1]
    ]
    assert told == sorted(told)
    assert steps


def test_slow_compression_skips_and_counts_frames_but_holds_up_no_step(bench):
    bench.encoded.clear()

    def recover() -> None:
        if len(bench.maximizer.batches) == 40:
            bench.encoded.set()
            bench.wait_for_encoders()

    bench.maximizer.before_step = recover
    bench.submit(make_job("a", steps=50, every_steps=1))
    bench.run()
    frames = [event.frame for event in bench.of("a", JobFramed)]
    early = [frame for frame in frames if frame.step <= 40]
    assert 0 < len(early) <= WAITING_EVENTS
    assert [frame.dropped for frame in early] == [0] * len(early)
    assert frames[len(early)].step == 41
    assert frames[len(early)].dropped == 40 - len(early)
    assert bench.events[-1].result.step == 50


def test_a_picture_that_cannot_be_compressed_fails_its_job_once_without_internals(bench):
    bench.failing_encoder = True
    bench.submit(make_job("a", steps=1000, every_steps=2))
    bench.run()
    ends = bench.of("a", JobFailed) + bench.of("a", JobFinished)
    assert [type(end.error) for end in ends] == [InternalError]
    assert "secret" not in str(ends[0].error)


def test_a_warning_is_told_before_what_follows(bench):
    warning = MaximizationWarning(1, "NO_GRADIENT", "silent")
    bench.maximizer.before_step = lambda: bench.maximizer.lanes["a"].warnings.append(warning)
    bench.submit(make_job("a", steps=1))
    kinds = [type(event) for event in bench.run()]
    assert kinds == [JobProgressed, JobWarned, JobProgressed, JobFinished]


def test_a_job_goes_on_from_its_checkpoint_with_its_time():
    first = Bench(Settings(checkpoint_seconds=0.045))
    first.submit(make_job("a", steps=8))
    first.run()
    checkpoint = first.of("a", JobCheckpointed)[0].checkpoint
    second = Bench(Settings())
    second.submit(make_job("a", steps=8, checkpoint=checkpoint))
    second.run()
    assert checkpoint.step == 5
    assert len(second.maximizer.batches) == 3
    assert abs(second.events[-1].result.duration - 0.08) < 1e-9


def test_checkpoints_that_take_long_become_rare():
    bench = Bench(Settings(checkpoint_seconds=0.01))
    bench.submit(make_job("a", steps=100))

    def slow_state() -> bytes:
        bench.clock.now += 0.02
        return b"1"

    bench.maximizer.before_step = lambda: setattr(bench.maximizer.lanes["a"], "state", slow_state)
    bench.run()
    assert len(bench.of("a", JobCheckpointed)) <= 4


def test_the_model_is_let_go_when_a_job_ends(bench):
    bench.submit(make_job("a"))
    bench.run()
    assert bench.maximizer.lanes["a"].released


def test_compression_happens_off_the_loop(bench):
    threads = set()
    encode = bench._encode

    def noting(picture, encoding, *, default):
        threads.add(threading.current_thread().name)
        return encode(picture, encoding, default=default)

    bench._encode = noting
    bench.submit(make_job("a", every_steps=1))
    bench.run()
    assert threads
    assert threading.current_thread().name not in threads
