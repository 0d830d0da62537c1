"""An engine that remembers: what a trial came to is kept in its folder, and a race that goes on later does not train it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import final

from unvanish.record.serialisation import from_plain, to_plain
from unvanish.record.verdict import TrialResult
from unvanish.trials.engines.engine import Engine, Goal
from unvanish.trials.trial import JOB, Trial, job_text

RESULT = "result.json"


@final
class ResultCache(Engine):
    """Another engine, with the memory of what ended."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name = engine.name

    @property
    def capacity(self) -> int:
        """How many trials run at a time."""
        return self._engine.capacity

    def advance(self, goals: Sequence[Goal]) -> list[TrialResult]:
        """As the engine promises; a trial that ended before is not run, whatever its goal."""
        known = {trial: result for trial, _ in goals if (result := _remembered(trial)) is not None}
        missing = [goal for goal in goals if goal[0] not in known]
        found = self._engine.advance(missing) if missing else []
        for (trial, _), result in zip(missing, found, strict=False):  # fewer after Ctrl-C
            known[trial] = result
            if not result.paused and (trial.folder / JOB).is_file():
                (trial.folder / RESULT).write_text(json.dumps(to_plain(result)), encoding="utf-8")
        return [known[trial] for trial, _ in goals if trial in known]

    def stop(self, trials: Sequence[Trial]) -> None:
        """As the engine promises."""
        self._engine.stop(trials)

    def close(self) -> None:
        """As the engine promises."""
        self._engine.close()


def _remembered(trial: Trial) -> TrialResult | None:
    """What this very trial came to; None where it has not ended, or another one left its files there."""
    job, result = trial.folder / JOB, trial.folder / RESULT
    if not (job.is_file() and result.is_file()) or job.read_text(encoding="utf-8") != job_text(trial):
        return None
    return from_plain(TrialResult, json.loads(result.read_text(encoding="utf-8")))
