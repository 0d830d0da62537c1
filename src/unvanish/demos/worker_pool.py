"""Runs trainings, in this process or in several beside each other, and hands back what came of each. It trains nothing itself.

Every training gets one thread: small deep networks are many times slower with two. Ctrl-C ends each running training at its next
step; what it has by then is kept.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from unvanish.demos.demo import Courses, News, Progress, Report, Training
from unvanish.demos.interrupt import deaf, wishes_to_end
from unvanish.record.demo_result import Course, Ending

TELL_EVERY_S = 0.1  # a screen is not read faster
LISTEN_S = 0.5  # after which Ctrl-C is looked for again
PATIENCE_S = 60.0  # how long a training may take to come to its next step once it was asked to end


def run_all(trainings: Sequence[Training], *, jobs: int, progress: Progress) -> Courses:
    """The course of every training that was begun, in the order given. `jobs` processes share them, the longest first.

    A training that fails is a course that says so. After Ctrl-C the courses so far come back, those cut short among them.
    """
    longest_first = sorted(trainings, key=lambda training: -training.effort)
    with wishes_to_end() as ending:
        if min(jobs, len(trainings)) < 2:
            found = _here(longest_first, progress, ending)
        else:
            found = _Crew(longest_first, jobs, progress).run(ending)
    return {training: found[training] for training in trainings if training in found}


def conduct(training: Training, report: Report) -> Course:
    """What came of one training in this process, timed, with a random state of its own; a failure is a result."""
    began = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        try:
            course = training.run(report)
        except Exception as fault:
            course = Course(Ending.FAILED, said=f"{type(fault).__name__}: {fault}")
    return replace(course, seconds=time.perf_counter() - began)


@contextmanager
def one_thread() -> Generator[None]:
    """One thread for torch inside, as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _here(trainings: Sequence[Training], progress: Progress, ending: Callable[[], bool]) -> Courses:
    found: Courses = {}
    with one_thread():
        for training in trainings:
            if ending():
                break

            def report(step: int, planned: int, loss: float, training: Training = training) -> bool:
                progress(News(training, step, planned, loss))
                return not ending()

            found[training] = course = conduct(training, report)
            progress(_last_news(training, course))
    return found


def _last_news(training: Training, course: Course) -> News:
    return News(training, course.steps, course.planned, course.points[-1].loss if course.points else math.nan, course)


class _Hand:
    """Owner of one process beside this one, of the pipe to it, and of what it works on."""

    def __init__(self) -> None:
        spawning: Any = multiprocessing.get_context("spawn")  # a fork of a process that has used torch may hang
        self.pipe, theirs = spawning.Pipe()
        self.training: Training | None = None
        self._process = spawning.Process(target=work, args=(theirs,), daemon=True)
        with deaf():
            self._process.start()
        theirs.close()

    def begin(self, training: Training) -> None:
        """Hands it a training."""
        self.training = training
        self.pipe.send(training)

    def end(self) -> None:
        """Asks it to hand back what it has, and to go."""
        with suppress(OSError):
            self.pipe.send(None)

    def dismiss(self) -> int | None:
        """Its exit code, once it is gone."""
        self.pipe.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()
        code: int | None = self._process.exitcode
        self._process.close()
        return code


class _Crew:
    """Owner of the processes while they work through a list."""

    def __init__(self, trainings: Sequence[Training], jobs: int, progress: Progress) -> None:
        self._waiting = list(trainings)[::-1]
        self._jobs = min(jobs, len(trainings))
        self._progress = progress
        self._hands: list[_Hand] = []
        self._found: Courses = {}

    def run(self, ending: Callable[[], bool]) -> Courses:
        """Works through the list, or as far as it gets until `ending`."""
        try:
            while len(self._hands) < self._jobs:
                self._employ()
            while any(hand.training for hand in self._hands) and not ending():
                self._listen()
            if ending():
                self._wind_up()
        finally:
            for hand in self._hands:
                hand.end()
            for hand in self._hands:
                hand.dismiss()
        return self._found

    def _employ(self) -> None:
        hand = _Hand()
        self._hands.append(hand)
        hand.begin(self._waiting.pop())

    def _listen(self) -> None:
        pipes = {hand.pipe: hand for hand in self._hands if hand.training is not None}
        for pipe in wait(list(pipes), LISTEN_S):
            hand = pipes[pipe]
            try:
                heard = hand.pipe.recv()
            except (EOFError, OSError):
                self._lose(hand)
                continue
            self._hear(hand, heard)

    def _hear(self, hand: _Hand, heard: Any) -> None:
        training = hand.training
        assert training is not None
        if not isinstance(heard, Course):
            self._progress(News(training, *heard))
            return
        hand.training = None
        self._found[training] = heard
        if self._waiting:
            hand.begin(self._waiting.pop())
        self._progress(_last_news(training, heard))

    def _lose(self, hand: _Hand) -> None:
        """Its process died, of memory as a rule. Another one takes its place."""
        training = hand.training
        assert training is not None
        self._hands.remove(hand)
        said = f"its process died (exit code {hand.dismiss()}); is there enough memory?"
        self._found[training] = course = Course(Ending.FAILED, said=said)
        self._progress(_last_news(training, course))
        if self._waiting:
            self._employ()

    def _wind_up(self) -> None:
        self._waiting.clear()
        for hand in self._hands:
            hand.end()
        deadline = time.monotonic() + PATIENCE_S
        while any(hand.training for hand in self._hands) and time.monotonic() < deadline:
            self._listen()


def work(pipe: Connection) -> None:
    """The life of a process beside: trainings come in by the pipe, courses go out, until it says None or its far end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    told = 0.0

    def report(step: int, planned: int, loss: float) -> bool:
        nonlocal told
        now = time.monotonic()
        if now - told >= TELL_EVERY_S or step == planned:
            told = now
            pipe.send((step, planned, loss))
        return not pipe.poll()

    with suppress(EOFError, OSError):
        while (training := pipe.recv()) is not None:
            pipe.send(conduct(training, report))
