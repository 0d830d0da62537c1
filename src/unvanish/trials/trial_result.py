"""The result of a trial that has ended, read from what it left in its folder. A trial that went wrong has a result too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unvanish.errors import RecordError
from unvanish.record.finding import Finding
from unvanish.record.journal import load
from unvanish.record.run import Facts, Run
from unvanish.record.structure import ModelStructure
from unvanish.record.verdict import TRAINING_SCORE, TrialResult
from unvanish.trials.failures import failure_line
from unvanish.trials.isolation.workplace import in_users_terms
from unvanish.trials.metrics.printed_metrics import printed_metrics
from unvanish.trials.output_files import end_of
from unvanish.trials.trial import RUN, STDERR, STDOUT, Trial

Examine = Callable[[Run], Sequence[Finding]]

TAIL = 0.1  # the share of the steps whose mean is the final loss
CURVE_POINTS = 200  # a loss curve is kept as so many block means at most: more than a figure's width can show


def result_of(trial: Trial, *, exit_code: int | None, memory_bytes: int, examine: Examine) -> TrialResult:
    """What the trial came to. `exit_code` is negative for a signal, and None where the trial waits for its next goal, which nobody
    has examined yet; `examine` gives the findings of a run that ended."""
    paused = exit_code is None
    output, errors = (in_users_terms(trial.folder, end_of(trial.folder / name)) for name in (STDOUT, STDERR))
    run, failure = _run_of(trial.folder / RUN)
    steps, losses = run.objective(0)
    if exit_code:
        failure = failure_line(exit_code, errors, steps=steps.tolist(), losses=losses)
    logged = {metric.name: metric.value for metric in run.metrics} | _training_score(run)
    return TrialResult(
        remedies=trial.remedies,
        seed=trial.seed,
        steps=run.step_count,
        final_loss=final_loss(losses),
        metrics=tuple(sorted((printed_metrics(errors) | printed_metrics(output) | logged).items())),
        findings=_findings(run, examine) if run.step_count and not paused else (),
        step_ms=float(np.median(run.step_ms())) if run.step_count > 1 else math.nan,
        parameters=sum(parameter.size for parameter in run.anatomy.parameters),
        memory_bytes=memory_bytes,
        losses=thinned(losses),
        flops=_flops(run),
        failure=failure,
        paused=paused,
        variant=trial.variant,
    )


def _training_score(run: Run) -> dict[str, float]:
    """The score on the training data over the last samples, a mean over the heads; nothing where no head was understood."""
    scores = run.readings.get("score", np.zeros((0, 0)))
    late = scores[-max(1, round(TAIL * len(scores))) :]
    known = late[np.isfinite(late)]
    return {TRAINING_SCORE: float(known.mean())} if len(known) else {}


def _findings(run: Run, examine: Examine) -> tuple[str, ...]:
    return tuple(finding.code for finding in examine(run) if finding.severity.loud)


def _flops(run: Run) -> float:
    seen = run.examination
    return float(seen.flops) if seen is not None and seen.flops is not None else math.nan


def final_loss(losses: NDArray[np.float64]) -> float:
    """The mean of the finite losses in the last tenth: infinite where none is (it diverged), NaN where there are no steps."""
    tail = losses[-max(1, round(TAIL * len(losses))) :]
    finite = tail[np.isfinite(tail)]
    if len(finite):
        return float(finite.mean())
    return math.inf if len(losses) else math.nan


def thinned(losses: NDArray[np.float64]) -> tuple[float, ...]:
    """The curve as means over equal blocks, at most CURVE_POINTS of them."""
    blocks = np.array_split(losses, min(len(losses), CURVE_POINTS)) if len(losses) else []
    return tuple(float(block.mean()) for block in blocks)


def _run_of(path: Path) -> tuple[Run, str | None]:
    """The trial's run, empty where there is none, and what is wrong with it."""
    if not path.is_file():
        return _empty_run(), "the script ended before it imported torch"
    try:
        run = load(path)
    except RecordError as fault:
        return _empty_run(), str(fault)
    return run, None if run.step_count else "the script made no training step"


def _empty_run() -> Run:
    return Run(Facts(), ModelStructure(), np.zeros(0, np.int64), {}, np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 0)))
