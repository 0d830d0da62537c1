"""Computes what several rules need of a run: layers by depth, early and late medians, a summary of the loss, the share learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unvanish.diagnose.layer_stacks import LayerStack, find_layer_stacks
from unvanish.diagnose.thresholds import MOVED_TARGETS
from unvanish.record.quantities import QUANTITIES, Axis
from unvanish.record.run import Matrix, Run
from unvanish.record.structure import Location, Parameter, Site

EARLY_ROWS = 10  # the samples that are always there: steps 1 to 10
LATE_ROWS = 3
AXES = {quantity.name: quantity.axis for quantity in QUANTITIES}
TINY = 1e-30
REGRESSION = frozenset({"squared", "absolute"})  # criteria whose targets are amounts
CRITERION_TOLERANCE = 0.05  # losses within five per cent of a multiple of a criterion are that criterion

Row = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LossCurve:
    """A summary of the losses of a run.

    Attributes:
        steps: Number of losses.
        start: Median of the first fiftieth of the steps, of at least 3.
        end: Median of the last fifth, of at least 3.
        lowest: The least median of any twentieth of the steps.
        fall: The drop from start to end, over the size of the start.
        late_fall: The drop from the middle third to the end, over the size of the start.
        noise: Standard error of `fall`.
        finite: False where a loss was NaN or infinite; such losses are left out of the other figures.
    """

    steps: int
    start: float
    end: float
    lowest: float
    fall: float
    late_fall: float
    noise: float
    finite: bool


class RunView:
    """Reads one run for the rules: readings, medians, layers in order, the loss, and how much is learned.

    Indices are those of `run.structure`. A quantity has one column for each site, parameter, optimizer group, network or head;
    `unvanish.record.quantities.QUANTITIES` says which.

    Attributes:
        run: The run itself.
        structure: Its networks, sites, parameters, optimizer groups and heads.
        stacks: The layers by the optimizer that trains them; at least one, which may be empty.

    Example:
        >>> from unvanish.testing import records
        >>> view = RunView(records.healthy())
        >>> (stack,) = view.stacks
        >>> view.site_labels(stack.layers)
        ('0', '2', '4', '6', '8', '10')
        >>> float(view.late_median("activation_std")[0])
        1.0
        >>> view.has_learned(stack, 0.5)
        True
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.structure = run.structure
        self.stacks = find_layer_stacks(run)
        self._axis_lengths = {
            Axis.SITE: len(run.structure.sites),
            Axis.PARAMETER: len(run.structure.parameters),
            Axis.GROUP: len(run.structure.groups),
            Axis.NETWORK: len(run.structure.networks),
            Axis.HEAD: len(run.structure.heads),
        }

    def values(self, name: str) -> Matrix:
        """All readings of a quantity; float64 of shape (sampled steps, length of its axis), NaN for what was not measured.

        Raises KeyError for a name that is no quantity. The array may be the record's own: do not alter it.
        """
        matrix = self.run.readings[name]
        missing = self._axis_lengths[AXES[name]] - matrix.shape[1]
        return np.pad(matrix, ((0, 0), (0, missing)), constant_values=np.nan) if missing > 0 else matrix

    def early_median(self, name: str) -> Row:
        """Median over the first 10 samples; float64 of shape (length of the quantity's axis,), NaN where nothing was measured."""
        return nanmedian(self.values(name)[:EARLY_ROWS])

    def late_median(self, name: str) -> Row:
        """Median over the last 3 samples, in the shape of `early_median`."""
        return nanmedian(self.values(name)[-LATE_ROWS:])

    def site_labels(self, sites: Sequence[int]) -> tuple[str, ...]:
        """The names of sites, each once, in the order of `sites`."""
        return tuple(dict.fromkeys(self.structure.site_label(i) for i in sites))

    def site(self, index: int) -> Site:
        """The record of a site."""
        return self.structure.sites[index]

    def parameter(self, index: int) -> Parameter:
        """The record of a parameter."""
        return self.structure.parameters[index]

    def location(self, index: int) -> Location | None:
        """The line of the user's source that runs a site."""
        return self.structure.sites[index].location

    def loss_curve(self, objective: int = 0) -> LossCurve | None:
        """A summary of an objective's losses; None where fewer than five steps have one."""
        _, losses = self.run.objective(objective)
        return summarise_losses(losses) if len(losses) >= 5 else None

    def heads(self, stack: LayerStack) -> tuple[int, ...]:
        """Indices of the heads in the loss that the stack is trained by; where that is not known, of the heads of its networks."""
        return tuple(
            i
            for i, head in enumerate(self.structure.heads)
            if (stack.optimizers & set(head.objectives) if head.objectives else head.network in stack.networks)
        )

    def explained_loss(self, stack: LayerStack) -> float | None:
        """The fraction of the loss that the stack explains by the end, (constant - loss) / (constant - floor), as in D^2 scores.

        `constant` is the loss of the best constant answer and `floor` the least that the targets allow: 0 is no better than a
        constant, 1 is all there is to learn, and a negative value is worse than a constant. None where no criterion was understood,
        or its targets are constant themselves; minus infinity where the loss ends as NaN or infinity.

        Of several heads, the mean. Where the loss of each step is this criterion at a fixed scale, all late steps count; else the
        samples of the run's second half, of which there are few in a short run: samples lie ever further apart.
        """
        fractions = [value for head in self.heads(stack) if (value := self._explained_loss_of(stack, head)) is not None]
        return float(np.mean(fractions)) if fractions else None

    def _explained_loss_of(self, stack: LayerStack, head: int) -> float | None:
        loss, constant = self.values("loss")[:, head], self.values("constant_loss")[:, head]  # (samples,)
        known = np.flatnonzero(np.isfinite(constant))
        floor = finite_median(self.values("least_loss")[-LATE_ROWS:, head])
        floor = 0.0 if np.isnan(floor) else floor
        reducible = (float(constant[known[-1]]) if len(known) else 0.0) - floor
        if reducible <= TINY or not self._has_varying_targets(head):
            return None
        compared = np.flatnonzero(~np.isnan(self.values("comparisons")[:, head]))
        if len(compared) and not np.isfinite(loss[compared[-1]]):
            return -np.inf
        scale, curve = self.criterion_scale(stack, head), self.loss_curve(stack.objective)
        if scale is not None and curve is not None and len(self.heads(stack)) == 1:
            return 1.0 - (curve.end / scale - floor) / reducible
        in_second_half = int(np.count_nonzero(2 * self.run.sampled[known] > self.run.step_count))
        late = loss[known][-max(LATE_ROWS, in_second_half) :]
        return 1.0 - (finite_mean(late) - floor) / reducible

    def _has_varying_targets(self, head: int) -> bool:
        low, high = self.values("target_low")[:, head], self.values("target_high")[:, head]
        return bool(np.nanmin(low, initial=np.inf) < np.nanmax(high, initial=-np.inf))

    def criterion_scale(self, stack: LayerStack, head: int) -> float | None:
        """The steps' losses over a head's criterion, where this ratio is the same at every sample within 5 %; else None."""
        criterion = self.values("loss")[:, head]  # (samples,)
        steps, losses = self.run.objective(stack.objective)
        position = np.searchsorted(steps, self.run.sampled)
        is_paired = (position < len(steps)) & np.isfinite(criterion) & (criterion != 0)
        is_paired[is_paired] = steps[position[is_paired]] == self.run.sampled[is_paired]
        ratios = losses[position[is_paired]] / criterion[is_paired]
        if len(ratios) < LATE_ROWS or not np.isfinite(ratios).all() or (ratios <= 0).any():
            return None
        median = float(np.median(ratios))
        return median if float(np.abs(ratios / median - 1).max()) < CRITERION_TOLERANCE else None

    def has_fixed_targets(self, stack: LayerStack) -> bool:
        """Whether the stack's loss measures the same thing at the end as at the start, so that its fall or rise can be judged.

        False where a policy is rewarded, and where targets grow or shrink, as those of temporal differences do, which the network
        itself makes. True where no criterion was understood.
        """
        heads = self.heads(stack)
        return not any(self.structure.heads[i].criterion == "policy" or self._has_moved_targets(i) for i in heads)

    def _has_moved_targets(self, head: int) -> bool:
        low, high = (self.values(name)[:, head] for name in ("target_low", "target_high"))
        sizes = np.maximum(np.abs(low), np.abs(high))
        sizes = sizes[np.isfinite(sizes)]
        if len(sizes) < 2 * LATE_ROWS or self.structure.heads[head].criterion not in REGRESSION:
            return False
        early, late = float(np.median(sizes[:LATE_ROWS])), float(np.median(sizes[-LATE_ROWS:]))
        return max(early, late) >= MOVED_TARGETS.value * max(min(early, late), TINY)

    def has_learned(self, stack: LayerStack, share: float) -> bool:
        """Whether the stack has learned that share, 0 to 1, of what there is to learn.

        By its explained loss where that is known, else by the fall of its loss from the start. False where the run has too few
        steps to tell.
        """
        explained = self.explained_loss(stack)
        if explained is not None:
            return explained >= share
        curve = self.loss_curve(stack.objective)
        return curve is not None and curve.finite and curve.fall >= share

    def update_ratio(self, stack: LayerStack) -> float | None:
        """Median log10 of the RMS of an update over that of its weight, at the late samples.

        Over the weight matrices that the stack's optimizer owns; None where none of them was measured.
        """
        ratios = log10_ratio(self.late_median("log10_update_rms"), self.late_median("log10_weight_rms"))
        ratios = ratios[self.weight_matrices(stack)]
        ratios = ratios[np.isfinite(ratios)]
        return float(np.median(ratios)) if len(ratios) else None

    def update_ratios(self, stack: LayerStack) -> Row:
        """The update ratio at every sample; float64 of shape (sampled steps,), NaN where nothing was measured."""
        ratios = log10_ratio(self.values("log10_update_rms"), self.values("log10_weight_rms"))  # (samples, parameters)
        return nanmedian(ratios[:, self.weight_matrices(stack)].T)

    def weight_matrices(self, stack: LayerStack) -> list[int]:
        """Indices of the parameters of two or more dimensions that the stack's optimizer owns."""
        groups = self.structure.groups
        width = self.values("log10_weight_rms").shape[1]
        return [
            i
            for i, p in enumerate(self.structure.parameters[:width])
            if len(p.shape) > 1 and p.group is not None and groups[p.group].optimizer in stack.optimizers
        ]

    def log10_initial_scale(self, stack: LayerStack) -> float | None:
        """Median log10 of sqrt(fan_in) times a weight's RMS at the first sample: 0 keeps a signal's size in a linear network.

        Over the stack's weight matrices; None where none of them was measured.
        """
        scales = [scale for i in self.weight_matrices(stack) if np.isfinite(scale := self.log10_initial_scale_of(i))]
        return float(np.median(scales)) if scales else None

    def log10_initial_scale_of(self, index: int) -> float:
        """log10 of sqrt(fan_in) times the RMS of one weight matrix at the first sample; NaN where it was not measured."""
        fan_in = float(np.prod(self.parameter(index).shape[1:]))
        return float(self.values("log10_weight_rms")[0, index]) + 0.5 * float(np.log10(max(fan_in, 1.0)))

    def first_sampled_step(self, mask: NDArray[np.bool_]) -> int | None:
        """The number of the first sampled step at which `mask`, of shape (sampled steps,), is true; None where it never is."""
        rows = np.flatnonzero(mask)
        return int(self.run.sampled[rows[0]]) if len(rows) else None


@np.errstate(over="ignore", invalid="ignore")  # a loss that diverges may overflow float64 in between
def summarise_losses(losses: Row) -> LossCurve:
    """The summary of a series of losses; float64 of shape (steps,). Its figures are NaN for fewer than five finite ones."""
    finite = bool(np.isfinite(losses).all())
    kept = losses[np.isfinite(losses)]
    if len(kept) < 5:
        return LossCurve(len(losses), np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, finite)
    head = kept[: max(3, len(kept) // 50)]
    tail = kept[-max(3, len(kept) // 5) :]
    middle = kept[len(kept) // 3 : 2 * len(kept) // 3]
    start, end = float(np.median(head)), float(np.median(tail))
    lowest = min(float(np.median(part)) for part in np.array_split(kept, min(20, len(kept) // 3 or 1)))
    size = max(abs(start), float(np.finfo(float).tiny))
    # The noise of a median of n values is 1.25 sd / sqrt(n); differences of neighbours give the sd free of any trend.
    deviation = 1.4826 * float(np.median(np.abs(np.diff(kept)))) / np.sqrt(2)
    noise = 1.25 * deviation * float(np.hypot(len(tail) ** -0.5, len(head) ** -0.5)) / size
    late = (float(np.median(middle)) - end) / size
    return LossCurve(len(losses), start, end, lowest, (start - end) / size, late, noise, finite)


def finite_median(values: Row | Matrix) -> float:
    """The median of the finite values; NaN where there are none."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else np.nan


def finite_mean(values: Row | Matrix) -> float:
    """The mean of the finite values; NaN where there are none."""
    known = values[np.isfinite(values)]
    return float(np.mean(known)) if known.size else np.nan


def log10_ratio(numerator: Matrix, denominator: Matrix) -> Matrix:
    """log10 of a ratio from two log10 values; NaN where both are exactly zero or both infinite."""
    with np.errstate(invalid="ignore"):
        return numerator - denominator


def nanmedian(rows: Matrix) -> Row:
    """Median over rows, (rows, columns) to (columns,), without NaN; NaN in columns that have nothing else. Infinities take part."""
    medians, is_known = np.full(rows.shape[1:], np.nan), ~np.isnan(rows).all(axis=0)
    if is_known.any():
        with np.errstate(invalid="ignore"):  # between -inf and inf lies NaN
            medians[is_known] = np.nanmedian(rows[:, is_known], axis=0)
    return medians
