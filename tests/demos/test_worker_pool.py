"""Tests of running trainings in this process and in workers: results, failures, dead workers, Ctrl-C, and nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import psutil
import torch

from unvanish.demos.demo import StepCallback, Training, TrainingProgress
from unvanish.demos.training_loop import TrainingPlan, run_training_loop
from unvanish.demos.worker_pool import run_all
from unvanish.record.demo_result import TrainingEnding, TrainingResult


@final
@dataclass(frozen=True, slots=True)
class FakeTraining(Training):
    """Draws a random number at each step; fails, exits, diverges or presses Ctrl-C where its fields say so."""

    name: str
    fails: bool = False
    exits: bool = False
    diverges_at: int = 0
    interrupts_at: int = 0
    steps: int = 5
    seed: int = field(default=0, kw_only=True)

    @property
    def label(self) -> str:
        return self.name

    @property
    def relative_cost(self) -> float:
        return float(self.steps)

    def run(self, on_step: StepCallback) -> TrainingResult:
        if self.fails:
            raise ValueError("no batch of one")
        if self.exits:
            os._exit(9)
        step = 0

        def train_step() -> float:
            nonlocal step
            step += 1
            if step == self.interrupts_at:
                os.kill(os.getpid(), signal.SIGINT)
            return float("inf") if step == self.diverges_at else float(torch.rand(()))

        plan = TrainingPlan(self.steps, score_every=2)
        result = run_training_loop(plan, train_step, lambda: float(torch.rand(())), on_step=on_step)
        return replace(result, measures=(("threads", float(torch.get_num_threads())),))


def without_time(result: TrainingResult) -> str:
    """A result without its time, as text, in which NaN equals NaN."""
    return repr(replace(result, seconds=0.0))


def ignore(_: TrainingProgress) -> None:
    """Ignores the progress."""


def test_results_come_back_in_the_order_given_and_depend_on_the_seed_alone() -> None:
    trainings = [FakeTraining("a"), FakeTraining("b", seed=1, steps=7), FakeTraining("c", steps=6)]
    events: list[TrainingProgress] = []
    results = run_all(trainings, jobs=1, progress=events.append)
    assert list(results) == trainings
    assert [result.ending for result in results.values()] == [TrainingEnding.FINISHED] * 3
    assert [result.steps for result in results.values()] == [5, 7, 6]
    assert results[trainings[0]].history[0] == results[trainings[2]].history[0]
    assert results[trainings[0]].history[0] != results[trainings[1]].history[0]
    assert {event.training for event in events if event.result is not None} == set(trainings)


def test_workers_give_the_same_numbers_as_this_process_and_one_that_dies_is_replaced() -> None:
    trainings = [
        FakeTraining("a"),
        FakeTraining("b", seed=1),
        FakeTraining("broken", fails=True),
        FakeTraining("inf", diverges_at=3),
    ]
    dying = FakeTraining("dies", exits=True, steps=9)
    events: list[TrainingProgress] = []
    in_this_process = run_all(trainings, jobs=1, progress=ignore)
    in_workers = run_all([*trainings, dying], jobs=2, progress=events.append)
    dead = in_workers.pop(dying)
    assert list(in_workers) == trainings
    assert [*map(without_time, in_workers.values())] == [*map(without_time, in_this_process.values())]
    assert dead.ending is TrainingEnding.FAILED
    assert dead.error == "its process died (exit code 9); is there enough memory?"
    assert {event.training for event in events if event.result is not None} == {*trainings, dying}
    assert multiprocessing.active_children() == []


def test_workers_use_one_thread_and_report_their_progress() -> None:
    trainings = [FakeTraining("a"), FakeTraining("b", seed=1)]
    events: list[TrainingProgress] = []
    results = run_all(trainings, jobs=2, progress=events.append)
    assert [result.measure("threads") for result in results.values()] == [1.0, 1.0]
    assert {(event.training, event.step) for event in events if event.result is None} >= {(training, 5) for training in trainings}


def test_a_training_leaves_threads_and_random_state_as_they_were() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    (result,) = run_all([FakeTraining("a")], jobs=1, progress=ignore).values()
    assert result.measure("threads") == 1.0
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_training_that_fails_has_a_result_and_the_others_go_on() -> None:
    trainings = [FakeTraining("broken", fails=True), FakeTraining("sound"), FakeTraining("inf", diverges_at=3)]
    broken, sound, diverged = run_all(trainings, jobs=1, progress=ignore).values()
    assert (broken.ending, broken.error, broken.score) == (TrainingEnding.FAILED, "ValueError: no batch of one", None)
    assert sound.ending is TrainingEnding.FINISHED
    assert (diverged.ending, diverged.steps, diverged.score) == (TrainingEnding.DIVERGED, 3, None)


def test_ctrl_c_keeps_the_result_so_far_in_this_process_and_starts_nothing_new() -> None:
    trainings = [FakeTraining("long", steps=1000, interrupts_at=3), FakeTraining("never", steps=1)]
    results = run_all(trainings, jobs=1, progress=ignore)
    assert list(results) == trainings[:1]
    (result,) = results.values()
    assert (result.ending, result.steps, result.planned_steps) == (TrainingEnding.STOPPED, 3, 1000)
    assert result.score is not None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_keeps_the_results_so_far_of_workers_and_leaves_no_process() -> None:
    trainings = [FakeTraining("one", steps=10**9), FakeTraining("two", steps=10**9), FakeTraining("never", steps=1)]
    started: set[str] = set()

    def interrupt(event: TrainingProgress) -> None:
        """Presses Ctrl-C once both workers have made steps."""
        count = len(started)
        started.add(event.training.label)
        if count < len(started) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    results = run_all(trainings, jobs=2, progress=interrupt)
    assert [training.label for training in results] == ["one", "two"]
    assert all(result.ending is TrainingEnding.STOPPED and result.steps > 0 for result in results.values())
    assert multiprocessing.active_children() == []


PROGRAM = """
from test_worker_pool import FakeTraining
from unvanish.demos.worker_pool import run_all

if __name__ == "__main__":
    trainings = [FakeTraining("one", steps=10**9), FakeTraining("two", steps=10**9)]
    run_all(trainings, jobs=2, progress=lambda event: print("step", flush=True))
"""


def test_workers_end_when_the_program_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"step\n"
        workers = psutil.Process(program.pid).children(recursive=True)
        program.kill()
    assert len(workers) >= 3  # two workers and the manager
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
