"""An engine that keeps the result of each trial in its folder, so that a race that is resumed does not train it again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import final

from unvanish.record.races.verdict import TrialResult
from unvanish.record.storage.serialisation import from_plain, to_plain
from unvanish.trials.engines.engine import Engine, Goal
from unvanish.trials.trial import JOB_FILE, Trial, job_text

RESULT = "result.json"


@final
class ResultCache(Engine):
    """Another engine, with the stored results of trials that ended."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name = engine.name

    @property
    def capacity(self) -> int:
        """How many trials run at a time."""
        return self._engine.capacity

    def advance(self, goals: Sequence[Goal]) -> list[TrialResult]:
        """The results of the trials at their goals; a trial that ended in an earlier race is not run, whatever its goal."""
        results = {trial: result for trial, _ in goals if (result := _load_result(trial)) is not None}
        missing = [goal for goal in goals if goal[0] not in results]
        computed = self._engine.advance(missing) if missing else []
        for (trial, _), result in zip(missing, computed, strict=False):  # fewer after Ctrl-C
            results[trial] = result
            if not result.paused and (trial.folder / JOB_FILE).is_file():
                (trial.folder / RESULT).write_text(json.dumps(to_plain(result)), encoding="utf-8")
        return [results[trial] for trial, _ in goals if trial in results]

    def stop(self, trials: Sequence[Trial]) -> None:
        """Ends paused trials; see Engine."""
        self._engine.stop(trials)

    def close(self) -> None:
        """Closes the other engine."""
        self._engine.close()


def _load_result(trial: Trial) -> TrialResult | None:
    """The stored result of an equal trial; None where it has not ended, or the folder holds another trial."""
    job, result = trial.folder / JOB_FILE, trial.folder / RESULT
    if not (job.is_file() and result.is_file()) or job.read_text(encoding="utf-8") != job_text(trial):
        return None
    return from_plain(TrialResult, json.loads(result.read_text(encoding="utf-8")))
