"""Merges the records of a training's processes into one, in time linear in their number and in the memory of a few of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from unvanish.record.ranks.joined_structure import JoinedStructure
from unvanish.record.ranks.merged_readings import MergedReadings
from unvanish.record.ranks.process import RankSummary, TrainingProcess
from unvanish.record.run import Matrix, Run, Steps

# Weights that should be equal are so to the last bit; what is stored of them has seven digits.
EQUAL_LOG10 = 1e-5
COMPARED = ("log10_weight_rms", "log10_update_rms")
MIN_EQUAL_LOSSES = 3  # by chance two processes may share one


def merge_runs(runs: Iterable[Run]) -> Run:
    """The record of all processes together, from the record of each; the first one's steps, facts and metrics stand for all.

    Readings are merged as `Quantity.merged_by` says, at the steps that every process sampled; the loss of a step is the mean over
    the processes. Every process is listed in `facts.ranks`, with where it differs from the first. Each run is read once and let go.

    Raises ValueError where there is no run.

    Example:
        >>> from unvanish.testing import records
        >>> merged = merge_runs([records.healthy(), records.healthy()])
        >>> merged.step_count, [rank.steps for rank in merged.facts.ranks]
        (200, [200, 200])
    """
    iterator = iter(runs)
    first = next(iterator, None)
    if first is None:
        raise ValueError("no run to merge")
    structure, readings, losses = JoinedStructure(), MergedReadings(first.sampled), MeanLosses(first.steps)
    summaries: list[RankSummary] = []
    metrics = first.metrics
    for run in chain((first,), iterator):
        readings.add(run, structure.add(run.structure))
        losses.add(run)
        summaries.append(summarise(run, first))
        metrics = metrics or run.metrics
    sampled, merged = readings.result()
    if len(summaries) > 1 and all(summary.same_losses for summary in summaries):
        merged["batch_size"] = merged["batch_size"] / len(summaries)  # each computes with the same examples
    facts = replace(first.facts, ranks=tuple(summaries))
    joined, mean_losses = structure.structure(), losses.mean()
    return replace(first, facts=facts, structure=joined, sampled=sampled, readings=merged, losses=mean_losses, metrics=metrics)


def summarise(run: Run, first: Run) -> RankSummary:
    """What one process did, beside the first one."""
    step, parameter = _first_difference(run, first) if run is not first else (None, "")
    examples = np.nansum(run.readings["batch_size"], axis=1)
    return RankSummary(
        run.facts.process or TrainingProcess(0),
        run.step_count,
        run.facts.ending,
        float(np.median(examples[examples > 0])) if (examples > 0).any() else float("nan"),
        _first_nonfinite(run),
        step,
        parameter,
        _has_same_losses(run, first),
        any(parameter.local_size is not None for parameter in run.structure.parameters),
        run.facts.faults,
    )


def _first_nonfinite(run: Run) -> int | None:
    steps = [run.steps[np.isinf(run.losses).any(axis=1)]] if run.losses.size else []
    for name in ("nonfinite_count", "gradient_nonfinite"):
        steps.append(run.sampled[(np.nan_to_num(run.readings[name]) > 0).any(axis=1)])
    found = np.concatenate(steps) if steps else np.zeros(0, np.int64)
    return int(found.min()) if len(found) else None


def _first_difference(run: Run, first: Run) -> tuple[int | None, str]:
    """The first common sampled step at which a whole parameter differs from the first process's, and which differs most then."""
    own, other = run.structure.parameters, first.structure.parameters
    places = {(p.network, p.name, p.shape): i for i, p in enumerate(other) if p.local_size is None}
    pairs = [(i, places.get((p.network, p.name, p.shape), -1)) for i, p in enumerate(own) if p.local_size is None]
    pairs = [pair for pair in pairs if pair[1] >= 0]
    steps, rows, other_rows = np.intersect1d(run.sampled, first.sampled, return_indices=True)
    if not pairs or not len(steps):
        return None, ""
    columns, other_columns = (np.array(side) for side in zip(*pairs, strict=True))
    differences = np.zeros((len(steps), len(pairs)))
    for name in COMPARED:
        with np.errstate(invalid="ignore"):  # two that are -inf alike
            difference = np.abs(
                _columns(run.readings[name], rows, columns) - _columns(first.readings[name], other_rows, other_columns)
            )
        differences = np.fmax(differences, difference)
    unequal = differences > EQUAL_LOG10
    if not unequal.any():
        return None, ""
    row = int(unequal.any(axis=1).argmax())
    return int(steps[row]), run.structure.parameter_label(pairs[int(differences[row].argmax())][0])


def _columns(matrix: Matrix, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Matrix:
    """The rows and columns of a matrix, NaN for columns that it lacks."""
    padded = np.pad(matrix, ((0, 0), (0, max(0, int(columns.max()) + 1 - matrix.shape[1]))), constant_values=np.nan)
    return padded[np.ix_(rows, columns)]


def _has_same_losses(run: Run, first: Run) -> bool:
    """Whether two processes had equal losses at every step that both made, and enough of them."""
    count = min(len(run.steps), len(first.steps))
    width = min(run.losses.shape[1], first.losses.shape[1]) if count else 0
    own, other = run.losses[:count, :width], first.losses[:count, :width]
    is_both = np.isfinite(own) & np.isfinite(other)
    return bool(is_both.sum() >= MIN_EQUAL_LOSSES and (own[is_both] == other[is_both]).all())


class MeanLosses:
    """Adds up the losses of the first process's steps over all processes."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._sums = np.zeros((len(steps), 0))
        self._counts = np.zeros((len(steps), 0))

    def add(self, run: Run) -> None:
        """Adds a process's losses; a step in which it had none adds nothing."""
        missing = run.losses.shape[1] - self._sums.shape[1]
        if missing > 0:
            self._sums, self._counts = (np.pad(matrix, ((0, 0), (0, missing))) for matrix in (self._sums, self._counts))
        _, rows, own_rows = np.intersect1d(self._steps, run.steps, return_indices=True)
        losses, width = run.losses[own_rows], run.losses.shape[1]
        self._sums[rows, :width] += np.nan_to_num(losses, nan=0.0, posinf=np.inf, neginf=-np.inf)
        self._counts[rows, :width] += ~np.isnan(losses)

    def mean(self) -> Matrix:
        """The mean loss of each step and objective; NaN where no process had one."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self._sums / self._counts
        return np.where(np.isnan(mean) & (self._counts > 0), np.inf, mean)
