"""Reads the result of a trial from the files in its folder; a trial that failed has a result too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unvanish.errors import RecordError
from unvanish.record.finding import Finding
from unvanish.record.races.verdict import TRAINING_SCORE, TrialResult
from unvanish.record.run import Facts, Run
from unvanish.record.storage.file_names import RUN_FILE
from unvanish.record.storage.journal import load
from unvanish.record.structure import ModelStructure
from unvanish.trials.failures import failure_line
from unvanish.trials.isolation.workplace import restore_user_paths
from unvanish.trials.metrics.printed_metrics import printed_metrics
from unvanish.trials.output_files import read_tail
from unvanish.trials.trial import STDERR_FILE, STDOUT_FILE, Trial

Examine = Callable[[Run], Sequence[Finding]]

TAIL = 0.1  # share of the last steps whose mean is the final loss
MAX_CURVE_POINTS = 200  # block means of a stored loss curve: more than a figure's width can show


def read_result(trial: Trial, *, exit_code: int | None, memory_bytes: int, examine: Examine) -> TrialResult:
    """The result of a trial as it stands.

    Arguments:
        trial: the trial, whose folder is read.
        exit_code: of its process, negative for a signal; None where it is paused.
        memory_bytes: the largest resident memory of its process.
        examine: gives the findings of the run; called only for a trial that has ended and made a step.

    Raises nothing for a broken or missing record: that is the result's `failure`.
    """
    is_paused = exit_code is None
    output, errors = (restore_user_paths(trial.folder, read_tail(trial.folder / name)) for name in (STDOUT_FILE, STDERR_FILE))
    run, failure = _load_run(trial.folder / RUN_FILE)
    steps, losses = run.objective(0)
    if exit_code:
        failure = failure_line(exit_code, errors, steps=steps.tolist(), losses=losses)
    logged = {metric.name: metric.value for metric in run.metrics} | _training_score(run)
    return TrialResult(
        candidate=trial.candidate,
        seed=trial.seed,
        steps=run.step_count,
        final_loss=final_loss(losses),
        metrics=tuple(sorted((printed_metrics(errors) | printed_metrics(output) | logged).items())),
        findings=_findings(run, examine) if run.step_count and not is_paused else (),
        step_ms=float(np.median(run.step_ms())) if run.step_count > 1 else math.nan,
        parameters=sum(parameter.size for parameter in run.structure.parameters),
        memory_bytes=memory_bytes,
        losses=downsample(losses),
        flops=_flops(run),
        failure=failure,
        paused=is_paused,
    )


def _training_score(run: Run) -> dict[str, float]:
    """The score on the training data over the last samples, a mean over the heads; empty where no head was recognised."""
    scores = run.readings.get("score", np.zeros((0, 0)))
    late = scores[-max(1, round(TAIL * len(scores))) :]
    known = late[np.isfinite(late)]
    return {TRAINING_SCORE: float(known.mean())} if len(known) else {}


def _findings(run: Run, examine: Examine) -> tuple[str, ...]:
    return tuple(finding.code for finding in examine(run) if finding.severity.loud)


def _flops(run: Run) -> float:
    examination = run.examination
    return float(examination.flops) if examination is not None and examination.flops is not None else math.nan


def final_loss(losses: NDArray[np.float64]) -> float:
    """The mean of the finite losses in the last tenth of the steps, inf where none is finite, NaN without steps.

    Example:
        >>> final_loss(np.array([3.0] * 18 + [1.0, 0.5])), final_loss(np.array([1.0, np.inf]))
        (0.75, inf)
    """
    tail = losses[-max(1, round(TAIL * len(losses))) :]
    finite = tail[np.isfinite(tail)]
    if len(finite):
        return float(finite.mean())
    return math.inf if len(losses) else math.nan


def downsample(losses: NDArray[np.float64]) -> tuple[float, ...]:
    """The loss curve as means over equal blocks, at most MAX_CURVE_POINTS of them."""
    blocks = np.array_split(losses, min(len(losses), MAX_CURVE_POINTS)) if len(losses) else []
    return tuple(float(block.mean()) for block in blocks)


def _load_run(path: Path) -> tuple[Run, str | None]:
    """The trial's run, empty where there is none, and why it failed, None where it did not."""
    if not path.is_file():
        return _empty_run(), "the script ended before it imported torch"
    try:
        run = load(path)
    except RecordError as fault:
        return _empty_run(), str(fault)
    return run, None if run.step_count else "the script made no training step"


def _empty_run() -> Run:
    return Run(Facts(), ModelStructure(), np.zeros(0, np.int64), {}, np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 0)))
