"""The gradient's way through a chain of layers: how much of what the last layers get arrives at each, and what took the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unvanish.diagnose.run_view import EARLY_ROWS, LATE_ROWS, LayerStack, Row, RunView, nanmedian
from unvanish.record.run import Matrix

# Activations that level off on both sides or pass on at most a quarter: with these, depth alone makes the gradient vanish.
SATURATING = frozenset({"sigmoid", "hardsigmoid", "tanh", "hardtanh", "softsign", "logsigmoid", "softmax", "erf", "clamp", "clip"})
LAST_LAYERS = 2  # the reference: the larger of the last two, since a head may be scaled by its own


@dataclass(frozen=True, slots=True)
class Profile:
    """log10 gradient RMS at each layer of a chain, relative to its last layers; float64 of shape (samples, layers)."""

    chain: LayerStack
    relative: Matrix

    @property
    def early(self) -> Row:
        """Median over the first samples."""
        return nanmedian(self.relative[:EARLY_ROWS])

    @property
    def late(self) -> Row:
        """Median over the last samples that could be measured."""
        measured = self.relative[~np.isnan(self.relative).all(axis=1)]
        return nanmedian(measured[-LATE_ROWS:])

    def at_input(self, row: Row) -> float:
        """The value at the input's end: the least of the first quarter of the layers; NaN where none was measured."""
        first = row[: max(1, len(row) // 4)]
        return float(np.nanmin(first)) if np.isfinite(first).any() or np.isneginf(first).any() else np.nan


def profile(chart: RunView, chain: LayerStack) -> Profile | None:
    """The profile of a chain; None for chains of fewer than three layers, which cannot lose a gradient through depth."""
    if len(chain.layers) < 3:
        return None
    gradients = chart.values("log10_gradient_rms")[:, chain.layers]
    finite = np.where(np.isposinf(gradients), np.nan, gradients)
    last = finite[:, -LAST_LAYERS:]
    reference = np.where(np.isnan(last), -np.inf, last).max(axis=1)
    with np.errstate(invalid="ignore"):
        relative = finite - np.where(np.isneginf(reference), np.nan, reference)[:, None]
    return Profile(chain, relative)


def activation_share(chart: RunView, chain: LayerStack, lost: float, rows: NDArray[np.intp] | slice) -> float:
    """The share of `lost` decades (negative) that saturating activations took.

    Exact where the network was traced; otherwise from their own local slopes, summed over depth.
    """
    if chart.run.examination is not None and -np.inf < chart.run.examination.flow.total < 0:
        flow = chart.run.examination.flow
        taken = sum(op.decades for op in flow.ops if op.visits and op.op in SATURATING)
        return min(max(taken / flow.total, 0.0), 1.0)
    saturating = [i for i in chain.activations if chart.site(i).op in SATURATING]
    if not saturating or not lost < 0:
        return 0.0
    slopes = nanmedian(chart.values("log10_slope_rms")[rows][:, saturating])
    taken = float(np.nansum(np.where(np.isinf(slopes), np.nan, slopes)))
    return float(np.clip(taken / lost, 0.0, 1.0)) if np.isfinite(lost) else float(taken < -1)


def mends_itself(chart: RunView) -> bool:
    """Whether nothing arrives only because a weight starts at zero, whose own gradient will move it with the first update.

    Heads and the ends of residual branches are often started so. Known from a trace alone.
    """
    seen = chart.run.examination
    if seen is None or seen.flow.total != -np.inf:
        return False
    named = {parameter.name: parameter for parameter in seen.flow.parameters}
    ends = [op for op in seen.flow.ops if op.decades == -np.inf]
    weights = [named[name] for op in ends for name in op.parameters if name in named and len(named[name].shape) > 1]
    others = [each for each in named.values() if len(each.shape) > 1 and each not in weights]
    zero = all(weight.log10_rms == -np.inf and weight.log10_gradient_rms > -np.inf for weight in weights)
    return bool(weights) and len(ends) <= len(weights) and zero and all(other.log10_rms > -np.inf for other in others)


def normalised(chart: RunView, chain: LayerStack) -> bool:
    """Whether the chain has normalisation layers."""
    return any(chart.site(i).kind == "normalisation" for i in chain.sites)


def has_paths_around(chart: RunView, chain: LayerStack) -> bool:
    """Whether modules merge several paths, as residual blocks do: their output is a tensor of their own."""
    return sum(chart.site(i).kind == "merge" for i in chain.sites) >= 2
