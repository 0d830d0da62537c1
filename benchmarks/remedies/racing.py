"""Trains controls and treated networks over equal seeds, each control once, and says what that proves. It prints nothing."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass, field

import torch

from benchmarks.remedies.experiments import EXPERIMENTS
from benchmarks.remedies.tasks import TASKS
from benchmarks.remedies.training import Trained, step_time_ratio, train
from unvanish.race.paired_statistics import paired_effect
from unvanish.record.stored_race import StoredRace, outcome_of


@dataclass(frozen=True, slots=True)
class Field:
    """The trainings of some experiments, under way in processes of their own; a control that several share is trained once."""

    executor: Executor
    seeds: tuple[int, ...]
    trainings: dict[tuple[str, tuple[str, ...], int], Future[Trained]] = field(default_factory=dict)
    ratios: dict[tuple[str, tuple[str, ...]], Future[float]] = field(default_factory=dict)

    def enter(self, task: str, remedies: tuple[str, ...]) -> None:
        """Has an experiment's trainings begin that have not."""
        for names in ((), remedies):
            for seed in self.seeds:
                if (task, names, seed) not in self.trainings:
                    self.trainings[task, names, seed] = self.executor.submit(_train, task, names, seed)
        self.ratios.setdefault((task, remedies), self.executor.submit(_ratio, task, remedies, self.seeds[0]))

    def result(self, task: str, remedies: tuple[str, ...]) -> StoredRace:
        """What an experiment proved, once its trainings have ended. Raises RuntimeError where the remedies refused to act."""
        control, treated = ([self.trainings[task, names, seed].result() for seed in self.seeds] for names in ((), remedies))
        if refusals := [each.refusal for each in treated if each.refusal]:
            raise RuntimeError(f"{' + '.join(remedies)} on {task!r}: {refusals[0]}")
        about = TASKS[task]
        values = [each.value for each in treated]
        before = [each.value for each in control]
        effect = paired_effect(about.metric, before, treated=values, higher_is_better=about.higher_is_better)
        return StoredRace(
            remedies=remedies,
            network=about.network,
            data=about.data,
            outcome=outcome_of(effect),
            effect=effect,
            seeds=len(self.seeds),
            steps=about.steps,
            step_time=self.ratios[task, remedies].result(),
            parameters=treated[0].parameters / control[0].parameters,
        )


def race(names: Iterable[str], *, seeds: int, jobs: int) -> Mapping[str, tuple[StoredRace, ...]]:
    """The experiments of each remedy, first the one that it should help."""
    chosen = list(names)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=torch.set_num_threads, initargs=(1,)) as executor:
        field = Field(executor, tuple(range(seeds)))
        for name in chosen:
            for task in EXPERIMENTS[name]:
                field.enter(task, (name,))
        return {name: tuple(field.result(task, (name,)) for task in EXPERIMENTS[name]) for name in chosen}


def _train(task: str, remedies: tuple[str, ...], seed: int) -> Trained:
    return train(TASKS[task], remedies, seed)


def _ratio(task: str, remedies: tuple[str, ...], seed: int) -> float:
    return step_time_ratio(TASKS[task], remedies, seed)
