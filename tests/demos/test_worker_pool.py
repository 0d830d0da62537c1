"""Trainings run here or in processes beside, and nothing is lost: not a failure, not a dead process, not what Ctrl-C cut short."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, replace
from typing import final

import torch

from unvanish.demos.demo import News, Report, Training
from unvanish.demos.training import Plan, follow
from unvanish.demos.worker_pool import run_all
from unvanish.record.demo_result import Course, Ending


@final
@dataclass(frozen=True, slots=True)
class Counting(Training):
    """Draws a number a step, and fails, dies, goes astray or asks to be interrupted where it is told to."""

    name: str
    seed_: int = 0
    fails: bool = False
    dies: bool = False
    astray_at: int = 0
    interrupts_at: int = 0
    steps: int = 5

    @property
    def label(self) -> str:
        return self.name

    @property
    def seed(self) -> int:
        return self.seed_

    @property
    def effort(self) -> float:
        return float(self.steps)

    def run(self, report: Report) -> Course:
        if self.fails:
            raise ValueError("no batch of one")
        if self.dies:
            os._exit(9)
        made = 0

        def step() -> float:
            nonlocal made
            made += 1
            if made == self.interrupts_at:
                os.kill(os.getpid(), signal.SIGINT)
            return float("inf") if made == self.astray_at else float(torch.rand(()))

        course = follow(Plan(self.steps, score_every=2), step, lambda: float(torch.rand(())), report=report)
        return Course(course.ending, course.planned, course.points, measures=(("threads", float(torch.get_num_threads())),))


def timeless(course: Course) -> str:
    """All of a course but its time; as text, in which NaN is like NaN."""
    return repr(replace(course, seconds=0.0))


def ignore(_: News) -> None:
    """Takes no notice."""


def test_every_training_comes_back_in_the_order_given_and_with_its_own_chance() -> None:
    trainings = [Counting("a"), Counting("b", seed_=1, steps=7), Counting("c", steps=6)]
    heard: list[News] = []
    courses = run_all(trainings, jobs=1, progress=heard.append)
    assert list(courses) == trainings
    assert [course.ending for course in courses.values()] == [Ending.FINISHED] * 3
    assert [course.steps for course in courses.values()] == [5, 7, 6]
    assert courses[trainings[0]].points[0] == courses[trainings[2]].points[0]
    assert courses[trainings[0]].points[0] != courses[trainings[1]].points[0]
    assert {news.training for news in heard if news.course is not None} == set(trainings)


def test_processes_beside_give_the_very_numbers_of_this_one_and_one_that_dies_is_replaced() -> None:
    trainings = [Counting("a"), Counting("b", seed_=1), Counting("broken", fails=True), Counting("astray", astray_at=3)]
    dying = Counting("dies", dies=True, steps=9)
    heard: list[News] = []
    here = run_all(trainings, jobs=1, progress=ignore)
    beside = run_all([*trainings, dying], jobs=2, progress=heard.append)
    dead = beside.pop(dying)
    assert list(beside) == trainings
    assert [timeless(course) for course in beside.values()] == [timeless(course) for course in here.values()]
    assert dead.ending is Ending.FAILED
    assert "exit code 9" in dead.said
    assert {news.training for news in heard if news.course is not None} == {*trainings, dying}


def test_a_training_leaves_threads_and_random_state_as_they_were() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    (course,) = run_all([Counting("a")], jobs=1, progress=ignore).values()
    assert course.measure("threads") == 1.0
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_training_that_fails_is_a_result_and_the_others_go_on() -> None:
    trainings = [Counting("broken", fails=True), Counting("whole"), Counting("astray", astray_at=3)]
    broken, whole, astray = run_all(trainings, jobs=1, progress=ignore).values()
    assert (broken.ending, broken.said, broken.score) == (Ending.FAILED, "ValueError: no batch of one", None)
    assert whole.ending is Ending.FINISHED
    assert (astray.ending, astray.steps, astray.score) == (Ending.DIVERGED, 3, None)


def test_ctrl_c_keeps_what_was_done_here_and_begins_nothing_new() -> None:
    trainings = [Counting("long", steps=1000, interrupts_at=3), Counting("never", steps=1)]
    courses = run_all(trainings, jobs=1, progress=ignore)
    assert list(courses) == trainings[:1]
    (course,) = courses.values()
    assert (course.ending, course.steps, course.planned) == (Ending.STOPPED, 3, 1000)
    assert course.score is not None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_keeps_what_was_done_in_processes_beside() -> None:
    trainings = [Counting("one", steps=10**9), Counting("two", steps=10**9), Counting("never", steps=1)]

    under_way: set[str] = set()

    def interrupt(news: News) -> None:
        """Presses Ctrl-C once both are under way."""
        before = len(under_way)
        under_way.add(news.training.label)
        if before < len(under_way) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    courses = run_all(trainings, jobs=2, progress=interrupt)
    assert [training.label for training in courses] == ["one", "two"]
    assert all(course.ending is Ending.STOPPED and course.steps > 0 for course in courses.values())
