"""Adds up what several processes measured at the same sampled steps, one process after the other, into that of all together.

Memory is that of one process's readings, a few times over, whatever the number of processes. Sizes are added in the log domain,
where neither 1e-300 nor 1e300 is lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from unvanish.record.quantities import QUANTITIES, Axis, MergedBy, Quantity
from unvanish.record.ranks.joined_structure import Positions
from unvanish.record.run import Matrix, Run, Steps

Rows = NDArray[np.int64]
Readings = Mapping[str, Matrix]
_LN10 = math.log(10.0)
_EARLIER = Quantity("earlier", "log10", Axis.PARAMETER, "RMS of the gradient at the sample before", MergedBy.RMS)
_ADDED = (*QUANTITIES, _EARLIER)
# The RMS of the two vectors of a cosine, and the mean that a deviation is about.
_LENGTHS = {
    "gradient_agreement": ("log10_weight_gradient_rms", _EARLIER.name),
    "gradient_along_weight": ("log10_weight_rms", "log10_weight_gradient_rms"),
}
_MEANS = {"activation_std": "activation_mean"}
_BY_NAME = {quantity.name: quantity for quantity in _ADDED}
# Of each rule, what a sum begins with, and how a value is added to it.
_RULES: Mapping[MergedBy, tuple[float, Callable[[Matrix, Matrix], Matrix]]] = {
    MergedBy.MEAN: (0.0, np.add),
    MergedBy.RMS: (-math.inf, np.logaddexp),
    MergedBy.DEVIATION: (0.0, np.add),
    MergedBy.COSINE: (0.0, np.add),
    MergedBy.SUM: (0.0, np.add),
    MergedBy.LEAST: (math.inf, np.minimum),
    MergedBy.GREATEST: (-math.inf, np.maximum),
}


class MergedReadings:
    """Owner of the sums. `sampled` are the steps of the first process, of which only those stay that every process has."""

    def __init__(self, sampled: Steps) -> None:
        self._sampled = sampled
        self._is_common = np.ones(len(sampled), bool)
        self._totals: dict[str, Matrix] = {}
        self._weights: dict[str, Matrix] = {}

    def add(self, run: Run, positions: Positions) -> None:
        """Adds a process's readings. A step that it reached without sampling it is dropped; one that it did not reach stays."""
        reached = self._sampled <= run.step_count
        common, rows, own_rows = np.intersect1d(self._sampled, run.sampled, return_indices=True)
        self._is_common &= ~reached | np.isin(self._sampled, common)
        weights = {axis: self._weights_of(run, axis, own_rows) for axis in Axis}
        gradients = run.readings["log10_weight_gradient_rms"]
        readings = {**run.readings, _EARLIER.name: np.vstack([gradients[:1], gradients[:-1]])}
        for quantity in _ADDED:
            with np.errstate(all="ignore"):  # infinities meet, and what cannot be added is NaN
                self._add(quantity, readings, own_rows, weights[quantity.axis], (rows, positions[quantity.axis]))

    def _weights_of(self, run: Run, axis: Axis, rows: Rows) -> Matrix:
        """What a process's values count, of shape (rows, 1) or (1, length of the axis)."""
        if axis is Axis.PARAMETER:
            sizes = [p.size if p.local_size is None else p.local_size for p in run.structure.parameters]
            return np.array([sizes], np.float64)
        if axis is Axis.GROUP:
            return np.ones((1, 1))
        examples = np.nansum(run.readings["batch_size"][rows], axis=1, keepdims=True)
        return np.where(examples > 0, examples, 1.0)

    def _add(self, quantity: Quantity, readings: Readings, own_rows: Rows, weights: Matrix, where: tuple[Rows, Rows]) -> None:
        width = len(where[1])
        values = _padded(readings[quantity.name][own_rows], width)
        is_measured = ~np.isnan(values)
        weight = np.where(is_measured, np.broadcast_to(_padded(weights, width), values.shape), 0.0)
        start, combine = _RULES[quantity.merged_by]
        terms = np.where(is_measured, _terms(quantity, values, weight, readings, own_rows), start)
        totals = self._grown(self._totals, quantity.name, where[1], start)
        counts = self._grown(self._weights, quantity.name, where[1], 0.0)
        grid = np.ix_(*where)
        totals[grid] = combine(totals[grid], terms)
        counts[grid] += weight

    def _grown(self, matrices: dict[str, Matrix], name: str, columns: Rows, fill: float) -> Matrix:
        """The matrix of a quantity, wide enough for these columns."""
        known = matrices.get(name, np.full((len(self._sampled), 0), fill))
        missing = int(columns.max(initial=-1)) + 1 - known.shape[1]
        if missing > 0:
            known = np.hstack([known, np.full((len(self._sampled), missing), fill)])
        matrices[name] = known
        return known

    def result(self) -> tuple[Steps, dict[str, Matrix]]:
        """The steps that every process sampled, and the readings of all together at these."""
        with np.errstate(all="ignore"):
            merged = {quantity.name: self._value(quantity)[self._is_common] for quantity in QUANTITIES}
        return self._sampled[self._is_common], merged

    def _value(self, quantity: Quantity) -> Matrix:
        total, weight = self._totals[quantity.name], self._weights[quantity.name]
        if quantity.merged_by is MergedBy.RMS:
            value = (total - np.log(weight)) / (2 * _LN10)
        elif quantity.merged_by is MergedBy.DEVIATION:
            mean = self._value(_BY_NAME[_MEANS[quantity.name]])
            value = np.sqrt(np.maximum(total / weight - mean**2, 0.0))
        elif quantity.merged_by is MergedBy.COSINE:
            lengths = sum(self._value(_BY_NAME[other]) for other in _LENGTHS[quantity.name])
            value = total / (weight * 10.0**lengths)
        elif quantity.merged_by is MergedBy.MEAN:
            value = total / weight
        else:
            value = total
        return np.where(weight > 0, value, np.nan)


def _terms(quantity: Quantity, values: Matrix, weight: Matrix, readings: Readings, rows: Rows) -> Matrix:
    """What a process's values add to the sum of a quantity."""
    width = values.shape[1]
    if quantity.merged_by is MergedBy.RMS:
        return 2 * _LN10 * values + np.log(weight)
    if quantity.merged_by is MergedBy.DEVIATION:
        return weight * (values**2 + _padded(readings[_MEANS[quantity.name]][rows], width) ** 2)
    if quantity.merged_by is MergedBy.COSINE:
        first, second = (_padded(readings[other][rows], width) for other in _LENGTHS[quantity.name])
        return weight * values * 10.0 ** (first + second)
    return weight * values if quantity.merged_by is MergedBy.MEAN else values


def _padded(values: Matrix, width: int) -> Matrix:
    """Values with NaN for what joined later; a single column stands for all."""
    if values.shape[1] in (1, width) and values.shape[1]:
        return values
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=np.nan)
