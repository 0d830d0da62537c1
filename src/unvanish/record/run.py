"""One observed training, complete and in memory: facts, structure of the model, readings, losses, metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from unvanish.record.examination import Examination
from unvanish.record.quantities import Metric
from unvanish.record.races.verdict import RaceResult
from unvanish.record.ranks.process import RankSummary, TrainingProcess
from unvanish.record.structure import ModelStructure

CHECKED = "checked"  # the ending of a run that was no training: a network looked at before it

Matrix = NDArray[np.float64]
Steps = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Facts:
    """Where and how a run was made. `own_s` is the time that observing took out of `wall_s`. `ending` is "running" until
    the run is closed, then "finished", "stopped" (by --max-steps), CHECKED, the name of the exception, or such as "exit code 3".
    `process` says which process made it, where a training has several; `ranks` are all of these, where their runs are merged."""

    script: str = ""
    arguments: tuple[str, ...] = ()
    started: str = ""
    versions: tuple[tuple[str, str], ...] = ()
    machine: str = ""
    device: str = ""
    threads: int = 0
    wall_s: float = 0.0
    own_s: float = 0.0
    ending: str = "running"
    faults: tuple[str, ...] = ()
    process: TrainingProcess | None = None
    ranks: tuple[RankSummary, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """The record of one training.

    Arguments:
        facts: where and how it was made.
        structure: networks, sites, parameters, optimizers and heads.
        sampled: the numbers of the sampled steps, int64 of shape (sampled steps,).
        readings: by name of quantity, float64 of shape (sampled steps, length of the quantity's axis); NaN where not measured.
        steps: the numbers of all steps, int64 of shape (steps,).
        ended_s: when each ended, in seconds since the run began, float64 of shape (steps,).
        losses: float64 of shape (steps, objectives), where an objective is an optimizer; NaN where it had no loss in a step.
        metrics: what the script reported.
        race: the result of a race on this script; None where there was none.
        examination: the exact examination of the network before its first update; None where there was none.

    Example:
        >>> from unvanish.testing import records
        >>> run = records.healthy()
        >>> run.step_count, run.readings["activation_std"].shape == (len(run.sampled), len(run.structure.sites))
        (200, True)
    """

    facts: Facts
    structure: ModelStructure
    sampled: Steps
    readings: Mapping[str, Matrix]
    steps: Steps
    ended_s: NDArray[np.float64]
    losses: Matrix
    metrics: tuple[Metric, ...] = ()
    race: RaceResult | None = field(default=None)
    examination: Examination | None = field(default=None)

    @property
    def step_count(self) -> int:
        """Number of the last step."""
        return int(self.steps[-1]) if len(self.steps) else 0

    @property
    def checked(self) -> bool:
        """Whether this is no training, but one look at a network before it."""
        return self.facts.ending == CHECKED

    @property
    def overhead(self) -> float:
        """Share of the wall time that observing took, 0..1."""
        return self.facts.own_s / self.facts.wall_s if self.facts.wall_s > 0 else 0.0

    def step_ms(self) -> NDArray[np.float64]:
        """Wall time of each step after the first, in milliseconds; float64 of shape (steps - 1,)."""
        return np.diff(self.ended_s) * 1e3

    def objective(self, index: int = 0) -> tuple[Steps, NDArray[np.float64]]:
        """The steps at which one objective has a loss, and those losses; a loss that was NaN or infinite is inf."""
        if self.losses.shape[1] <= index:
            return self.steps[:0], np.zeros(0)
        column = self.losses[:, index]
        present = ~np.isnan(column)
        return self.steps[present], column[present]
