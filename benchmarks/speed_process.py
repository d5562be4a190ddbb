"""Contenders as processes: each in the environment that its users have, waiting for its turn.

A process computes only when it is asked to, so that one alone computes at a time; how much processor time those that
wait take all the same is measured. `speed_answering.py` is a contender's own end of the line.
"""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Literal

from benchmarks.speed_cases import ROOT, Case
from benchmarks.speed_usage import processor_seconds
from phosphene_server.workers.process import ENVIRONMENT

Surroundings = Literal["plain", "worker"]

CHOSEN_BY_THE_CALLER = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "MALLOC_", "PHOSPHENE_")
"""Variables of the shell in which the benchmark runs, which would decide for all contenders."""

START_SECONDS = 180.0
TURN_SECONDS = 300.0


class ContenderFailed(Exception):
    """A contender is not installed, has ended or took too long; the message says which."""


class ContenderProcess:
    """A contender that waits in a process of its own."""

    def __init__(self, contender: str, *, device: str, surroundings: Surroundings) -> None:
        """Start it; it may still be preparing when this returns."""
        self.contender = contender
        self.waiting_seconds = 0.0
        """How long it has waited for turns, all in all."""
        self.processor_seconds_waiting = 0.0
        """The processor time that it and all that it has started took meanwhile."""
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.speed_answering", contender, device, surroundings],
            cwd=ROOT,
            env=environment(surroundings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ready = False
        self._answered: tuple[float, float] | None = None

    def wait_until_ready(self) -> None:
        """Wait for the end of its preparations.

        Raises:
            ContenderFailed: it cannot be used here.
        """
        if not self._ready:
            self._answer(START_SECONDS)
            self._ready = True

    def run(self, case: Case, steps: int, *, profiled: bool = False, seconds: float = TURN_SECONDS) -> dict[str, Any]:
        """Let it run a number of steps.

        Args:
            case: What.
            steps: How many.
            profiled: Whether it also tells `device_seconds`, for which the device had something to do. It may be
                slower then.
            seconds: When to give up, and end the process.

        Returns:
            `seconds` that the steps took, and `peak_bytes`, the most memory that the process has had so far.

        Raises:
            ContenderFailed: it failed, or took too long.
        """
        self.wait_until_ready()
        self._end_waiting()
        assert self._process.stdin is not None
        command = {"case": asdict(case), "steps": steps, "profiled": profiled}
        with suppress(BrokenPipeError):  # the answer tells
            print(json.dumps(command), file=self._process.stdin, flush=True)
        answer = self._answer(seconds)
        self._answered = (time.perf_counter(), processor_seconds(self._process.pid))
        return answer

    @property
    def ended(self) -> bool:
        """Whether there is nobody any more who could take a turn."""
        return self._process.poll() is not None

    def close(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _end_waiting(self) -> None:
        if self._answered is not None:
            since, before = self._answered
            self.waiting_seconds += time.perf_counter() - since
            self.processor_seconds_waiting += processor_seconds(self._process.pid) - before
            self._answered = None

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        timer = threading.Timer(seconds, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            self._process.wait()
            raise ContenderFailed(f"{self.contender}: ended, or took longer than {seconds:g} s")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ContenderFailed(f"{self.contender}: {answer['error']}")
        return answer


def environment(surroundings: Surroundings) -> dict[str, str]:
    """Return the variables of a process: those of a shell that says nothing of threads, or those of our worker."""
    shell = {name: value for name, value in os.environ.items() if not name.startswith(CHOSEN_BY_THE_CALLER)}
    return shell | dict(ENVIRONMENT) if surroundings == "worker" else shell
