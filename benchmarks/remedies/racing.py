"""Trains controls and treated networks with the same seeds in several processes, each control once, and compares them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, field

import torch

from benchmarks.remedies.experiments import EXPERIMENTS
from benchmarks.remedies.tasks import TASKS
from benchmarks.remedies.training import TrainingScore, step_time_ratio, train
from unvanish.race.paired_statistics import paired_effect
from unvanish.record.races.stored_race import StoredRace, outcome_of


@dataclass(frozen=True, slots=True)
class TrainingQueue:
    """Owner of the trainings of some experiments in an executor; a control that several share is trained once."""

    executor: Executor
    seeds: tuple[int, ...]
    trainings: dict[tuple[str, tuple[str, ...], int], Future[TrainingScore]] = field(default_factory=dict)
    ratios: dict[tuple[str, tuple[str, ...]], Future[float]] = field(default_factory=dict)

    def submit(self, task: str, remedies: tuple[str, ...]) -> None:
        """Starts the trainings of an experiment that were not started yet."""
        for names in ((), remedies):
            for seed in self.seeds:
                if (task, names, seed) not in self.trainings:
                    self.trainings[task, names, seed] = self.executor.submit(_train_task, task, names, seed)
        self.ratios.setdefault((task, remedies), self.executor.submit(_step_time_ratio, task, remedies, self.seeds[0]))

    def result(self, task: str, remedies: tuple[str, ...]) -> StoredRace:
        """The verdict of an experiment, after the end of its trainings. Raises RuntimeError where the remedies refused to act."""
        control, treated = ([self.trainings[task, names, seed].result() for seed in self.seeds] for names in ((), remedies))
        if refusals := [score.refusal for score in treated if score.refusal]:
            raise RuntimeError(f"{' + '.join(remedies)} on {task!r}: {refusals[0]}")
        description = TASKS[task]
        treated_values = [score.value for score in treated]
        control_values = [score.value for score in control]
        effect = paired_effect(
            description.metric, control_values, treated=treated_values, higher_is_better=description.higher_is_better
        )
        return StoredRace(
            remedies=remedies,
            network=description.network,
            data=description.data,
            outcome=outcome_of(effect),
            effect=effect,
            seeds=len(self.seeds),
            steps=description.steps,
            step_time=self.ratios[task, remedies].result(),
            parameters=treated[0].parameters / control[0].parameters,
        )


def race(names: Iterable[str], *, seeds: int, jobs: int) -> Mapping[str, tuple[StoredRace, ...]]:
    """The experiments of each remedy, first the one that it should help."""
    names = list(names)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as executor:
        queue = TrainingQueue(executor, tuple(range(seeds)))
        for name in names:
            for task in EXPERIMENTS[name]:
                queue.submit(task, (name,))
        return {name: tuple(queue.result(task, (name,)) for task in EXPERIMENTS[name]) for name in names}


def _train_task(task: str, remedies: tuple[str, ...], seed: int) -> TrainingScore:
    return train(TASKS[task], remedies, seed)


def _step_time_ratio(task: str, remedies: tuple[str, ...], seed: int) -> float:
    return step_time_ratio(TASKS[task], remedies, seed)
