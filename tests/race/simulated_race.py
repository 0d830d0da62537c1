"""A race without processes: an engine that makes results up from a loss curve for each candidate, and counts what it trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from unvanish.race import EditedCandidate, RaceSettings
from unvanish.record.races.candidate import Candidate
from unvanish.record.races.verdict import TrialResult
from unvanish.trials import Script, Trial
from unvanish.trials.engines.engine import Engine, Goal

STEPS = 90
SICK = ("vanishing-gradient",)

Curve = Callable[[int, int], float]
"""The loss at a step (from 1) with a seed."""


@dataclass
class CurveEngine(Engine):
    """`curves` by name, "as it is" for the control; `interrupted_after` rounds Ctrl-C comes."""

    curves: Mapping[str, Curve]
    interrupted_after: int | None = None
    cured_below: float = 0.5
    steps: int = STEPS
    step_ms: Mapping[str, float] = field(default_factory=dict)
    reached: dict[tuple[str, int], int] = field(default_factory=dict)
    rounds: list[list[tuple[str, int, int | None]]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)

    name = "curves"
    capacity = 2  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def advance(self, goals: Sequence[Goal]) -> list[TrialResult]:
        if self.interrupted_after is not None and len(self.rounds) >= self.interrupted_after:
            raise KeyboardInterrupt
        self.rounds.append([(trial.name, trial.seed, goal) for trial, goal in goals])
        return [self._result(trial, goal) for trial, goal in goals]

    def stop(self, trials: Sequence[Trial]) -> None:
        self.stopped += [trial.name for trial in trials]

    def close(self) -> None:
        self.stopped.append("all")

    def _result(self, trial: Trial, goal: int | None) -> TrialResult:
        steps = self.steps if goal is None else goal
        self.reached[trial.name, trial.seed] = steps
        losses = tuple(self.curves[trial.name](step, trial.seed) for step in range(1, steps + 1))
        return TrialResult(
            candidate=trial.candidate,
            seed=trial.seed,
            steps=steps,
            final_loss=losses[-1],
            metrics=(),
            findings=SICK if goal is None and losses[-1] > self.cured_below else (),
            step_ms=self.step_ms.get(trial.name, 1.0),
            parameters=100,
            memory_bytes=1000,
            losses=losses,
            paused=goal is not None,
        )


def settings(engine: Engine, folder: Path, *, steps: int = STEPS, **options: object) -> RaceSettings:
    """A race over so many steps."""
    return RaceSettings(Script(folder / "train.py"), engine, folder, steps, **options)  # pyright: ignore[reportArgumentType]


def candidate(name: str) -> Candidate:
    """A candidate by the name that people write: "relu + he-init", "learning-rate x0.1"; "" for the control."""
    remedies, _, factor = name.partition(" x")
    return Candidate(tuple(remedies.split(" + ")) if remedies else (), float(factor) if factor else None)


def edited_candidates(*names: str) -> list[EditedCandidate]:
    """Candidates by name, without edits."""
    return [EditedCandidate(candidate(name)) for name in names]
