"""Measures how the gradient shrinks or grows through a stack of layers, and which share of that saturating activations take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.run_view import EARLY_ROWS, LATE_ROWS, Row, RunView, nanmedian
from unvanish.record.run import Matrix

# Activations that level off on both sides or pass on at most a quarter: with these, depth alone makes the gradient vanish.
SATURATING = frozenset({"sigmoid", "hardsigmoid", "tanh", "hardtanh", "softsign", "logsigmoid", "softmax", "erf", "clamp", "clip"})
LAST_LAYERS = 2  # the reference: the larger of the last two, since a head may be scaled by its own
MIN_LAYERS = 3  # fewer cannot lose a gradient through depth


@dataclass(frozen=True, slots=True)
class GradientProfile:
    """log10 gradient RMS at each layer of a stack, relative to its last layers; float64 of shape (samples, layers)."""

    stack: LayerStack
    relative: Matrix

    @property
    def early_median(self) -> Row:
        """Median over the first 10 samples, of shape (layers,)."""
        return nanmedian(self.relative[:EARLY_ROWS])

    @property
    def late_median(self) -> Row:
        """Median over the last 3 samples that were measured, of shape (layers,)."""
        measured = self.relative[~np.isnan(self.relative).all(axis=1)]
        return nanmedian(measured[-LATE_ROWS:])

    def at_input(self, row: Row) -> float:
        """The least value among the first quarter of the layers, of a row of shape (layers,); NaN where none was measured."""
        first = row[: max(1, len(row) // 4)]
        return float(np.nanmin(first)) if np.isfinite(first).any() or np.isneginf(first).any() else np.nan


def gradient_profile(view: RunView, stack: LayerStack) -> GradientProfile | None:
    """The gradient profile of a stack; None for fewer than three layers, and where most weights lie in layers of unknown kinds."""
    if len(stack.layers) < MIN_LAYERS or view.structure.count_weights(stack.networks).is_mostly_unknown:
        return None
    gradients = view.values("log10_gradient_rms")[:, stack.layers]  # (samples, layers)
    without_overflow = np.where(np.isposinf(gradients), np.nan, gradients)
    last = without_overflow[:, -LAST_LAYERS:]
    reference = np.where(np.isnan(last), -np.inf, last).max(axis=1)  # (samples,)
    with np.errstate(invalid="ignore"):
        relative = without_overflow - np.where(np.isneginf(reference), np.nan, reference)[:, None]
    return GradientProfile(stack, relative)


def activation_share(view: RunView, stack: LayerStack, lost: float, rows: NDArray[np.intp] | slice) -> float:
    """The share, 0 to 1, of `lost` decades (a negative number) that saturating activations took.

    Exact where the network was traced; otherwise from their local slopes at the samples `rows`, summed over depth.
    """
    if view.run.examination is not None and -np.inf < view.run.examination.flow.total < 0:
        flow = view.run.examination.flow
        taken = sum(op.decades for op in flow.ops if op.visits and op.op in SATURATING)
        return min(max(taken / flow.total, 0.0), 1.0)
    saturating = [i for i in stack.activations if view.site(i).op in SATURATING]
    if not saturating or not lost < 0:
        return 0.0
    slopes = nanmedian(view.values("log10_slope_rms")[rows][:, saturating])
    taken = float(np.nansum(np.where(np.isinf(slopes), np.nan, slopes)))
    return float(np.clip(taken / lost, 0.0, 1.0)) if np.isfinite(lost) else float(taken < -1)


def is_blocked_by_zero_weight(view: RunView) -> bool:
    """Whether no gradient reaches the input only because a weight starts at zero, which its own gradient will move at once.

    Heads and the ends of residual branches are often started so. False where the network was not traced.
    """
    examination = view.run.examination
    if examination is None or examination.flow.total != -np.inf:
        return False
    by_name = {parameter.name: parameter for parameter in examination.flow.parameters}
    blocking = [op for op in examination.flow.ops if op.decades == -np.inf]
    zeros = [by_name[name] for op in blocking for name in op.parameters if name in by_name and len(by_name[name].shape) > 1]
    others = [weight for weight in by_name.values() if len(weight.shape) > 1 and weight not in zeros]
    will_move = all(weight.log10_rms == -np.inf and weight.log10_gradient_rms > -np.inf for weight in zeros)
    return bool(zeros) and len(blocking) <= len(zeros) and will_move and all(weight.log10_rms > -np.inf for weight in others)


def has_normalisation(view: RunView, stack: LayerStack) -> bool:
    """Whether the stack has normalisation layers."""
    return any(view.site(i).kind == "normalisation" for i in stack.sites)


def has_skip_connections(view: RunView, stack: LayerStack) -> bool:
    """Whether at least two modules merge several paths, as residual blocks do: their output is a tensor of their own."""
    return sum(view.site(i).kind == "merge" for i in stack.sites) >= 2
