"""weight-decay-dominates: the pull towards zero is stronger than what the data teach."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import EARLY_ROWS, LayerStack, RunView, log_ratio, nanmedian
from unvanish.diagnose.thresholds import ALONG_WEIGHT, DECAY, HALF_LEARNED, SHRUNK
from unvanish.diagnose.trend import trend
from unvanish.record.finding import Cause, Finding, Severity
from unvanish.record.structure import OptimizerGroup

DECOUPLED = ("adamw", "lion", "muon", "sgdw", "nadamw", "adafactor", "lamb")


@final
class WeightDecayDominates(Rule):
    """Weight decay pulls the weights to zero faster than the gradient holds them, and nothing is learned.

    Sees: the setting `weight_decay`, the size of weights and gradients (of updates, where the decay is decoupled from the
    gradient), and what becomes of the weights.

    Why it matters: decay should forget slowly what no example confirms. Where it is stronger than the gradient, the weights
    shrink to nothing, and every answer becomes the same.

    Known problems: near the end of a good training decay and gradient balance, so only the steps in which the weights still
    shrink count, and only in a network that does not learn.

    Example: SGD with momentum at 0.05 and `weight_decay=0.2`; AdamW at 1e-2 with `weight_decay=10`.

    References: Loshchilov and Hutter 2019 (arXiv 1711.05101).
    """

    code: ClassVar[str] = "weight-decay-dominates"
    rank: ClassVar[int] = 22
    explains: ClassVar[frozenset[str]] = frozenset(
        {"loss-not-decreasing", "vanishing-gradient", "representation-collapse", "learning-rate-too-low", "dead-units"}
        | {"off-critical-init", "attention-collapse", "learning-rate-too-high", "vanishing-through-time"}
    )

    def examine(self, chart: RunView) -> Iterator[Finding]:
        for chain in chart.chains:
            pull, shrunk, along = _pull(chart, chain), _shrunk(chart, chain), _along(chart, chain)
            if shrunk is None or not shrunk <= SHRUNK.value or chart.learned(chain, HALF_LEARNED.value):
                continue
            if pull is not None and pull >= DECAY.value:
                yield self._finding(chart, chain, pull, shrunk)
            elif along is not None and along >= ALONG_WEIGHT.value and shrunk <= (SHRUNK.sure or 0.0) and _deep(chart, chain):
                yield self._penalty(chart, chain, along, shrunk)

    def _penalty(self, chart: RunView, chain: LayerStack, along: float, shrunk: float) -> Finding:
        """The same by a penalty on the weights that the loss itself contains."""
        return Finding(
            self.code,
            Severity.CRITICAL,
            min(ALONG_WEIGHT.confidence(along, least=0.8), SHRUNK.confidence(shrunk, least=0.8)),
            "A penalty in the loss pulls the weights to zero faster than the data can hold them.",
            f"The gradients point along the weights themselves (cosine {along:.2f}; of data it is about 0), and the weights "
            "have shrunk to "
            f"{wording.percent(wording.ten_to(shrunk))} of their size.",
            advice="Lower the weight of the penalty in the loss, by a factor of a hundred as a start.",
            sites=chart.labels(chain.layers),
            cause=Cause(self.code),
            evidence=(ALONG_WEIGHT.shown("gradient along the weights", along), SHRUNK.shown("weights against the start", shrunk)),
            began=int(chart.run.sampled[0]),
        )

    def _finding(self, chart: RunView, chain: LayerStack, pull: float, shrunk: float) -> Finding:
        groups = [g for g in chart.anatomy.groups if g.optimizer == chain.objective]
        decay = max(g.setting("weight_decay") for g in groups)
        sizes = nanmedian(chart.values("log10_weight_rms")[:, chart.matrices(chain)].T)
        return Finding(
            self.code,
            Severity.CRITICAL,
            min(DECAY.confidence(pull, least=0.85), SHRUNK.confidence(shrunk, least=0.85)),
            "Weight decay pulls the weights to zero faster than the data can hold them.",
            f"With a weight decay of {wording.quantity(decay)} the pull to zero is {wording.ten_to(pull):.1f} times that of the "
            "loss, "
            f"and the weights have shrunk to {wording.percent(wording.ten_to(shrunk))} of their size.",
            advice="Lower the weight decay, to 1e-4 for SGD or 1e-2 for AdamW as a start.",
            sites=chart.labels(chain.layers),
            cause=Cause(self.code),
            evidence=(DECAY.shown("decay over gradient", pull), SHRUNK.shown("weights against the start", shrunk)),
            remedies=("adamw",),
            began=int(chart.run.sampled[0]),
            trend=trend(sizes, worse=-1, step=0.05),
        )


def _deep(chart: RunView, chain: LayerStack) -> bool:
    """Whether there are several layers: of a single one the best weights may well be zero."""
    return len(chart.matrices(chain)) > 1


def _along(chart: RunView, chain: LayerStack) -> float | None:
    """Median cosine between gradients and weights over the early samples; None where it was never measured."""
    values = chart.values("gradient_along_weight")[:EARLY_ROWS, chart.matrices(chain)]
    return float(np.median(values[np.isfinite(values)])) if np.isfinite(values).any() else None


def _pull(chart: RunView, chain: LayerStack) -> float | None:
    """Median over weight matrices of log10 of the decay's pull over the loss's, where it was strongest while weights shrank."""
    weights, gradients, updates, rates = (
        chart.values(name) for name in ("log10_weight_rms", "log10_weight_gradient_rms", "log10_update_rms", "learning_rate")
    )
    found: list[float] = []
    for index in chart.matrices(chain):
        number = chart.parameter(index).group
        if number is None or not (decay := chart.anatomy.groups[number].setting("weight_decay")) > 0:
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            if decoupled(chart.anatomy.groups[number]):
                pulls = (
                    math.log10(decay)
                    + np.log10(rates[:, number])
                    + weights[:, index]
                    - _without(updates[:, index], decay, rates[:, number], weights[:, index])
                )
            else:
                pulls = math.log10(decay) + weights[:, index] - gradients[:, index]
        pulls = pulls[np.isfinite(pulls)]
        if len(pulls):
            found.append(float(np.median(pulls)))
    return float(np.median(found)) if found else None


def _without(
    update: np.ndarray[tuple[int], np.dtype[np.float64]],
    decay: float,
    rate: np.ndarray[tuple[int], np.dtype[np.float64]],
    weight: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """log10 of the update without what a decoupled decay did of it, at least a tenth of it: the two are about orthogonal."""
    whole, own = 10.0 ** (2 * update), (decay * rate * 10.0**weight) ** 2
    return 0.5 * np.log10(np.maximum(whole - own, 0.01 * whole))


def decoupled(group: OptimizerGroup) -> bool:
    """Whether an optimizer shrinks the weights themselves, instead of adding to the gradient."""
    return group.class_name.lower().startswith(DECOUPLED) or group.setting("decoupled_weight_decay") > 0


def _shrunk(chart: RunView, chain: LayerStack) -> float | None:
    """Median log10 of the weight matrices' size at the end over that at the start."""
    owned = chart.matrices(chain)
    change = log_ratio(chart.late("log10_weight_rms"), chart.values("log10_weight_rms")[0])[owned]
    change = change[~np.isnan(change)]
    return float(np.median(change)) if len(change) else None
