"""The rule weight-decay-dominates: weight decay shrinks the weights faster than the gradient restores them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import MEASURED_FAULT
from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import EARLY_ROWS, RunView, log10_ratio, nanmedian
from unvanish.diagnose.thresholds import ALONG_WEIGHT, DECAY, HALF_LEARNED, SHRUNK
from unvanish.diagnose.trend import classify_trend
from unvanish.record.finding import Cause, Finding, Severity
from unvanish.record.structure import OptimizerGroup

DECOUPLED_OPTIMIZERS = ("adamw", "lion", "muon", "sgdw", "nadamw", "adafactor", "lamb")


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

    def examine(self, view: RunView) -> Iterator[Finding]:
        for stack in view.stacks:
            pull, shrunk, alignment = _log10_pull(view, stack), _log10_shrinkage(view, stack), _gradient_along_weight(view, stack)
            if shrunk is None or not shrunk <= SHRUNK.value or view.has_learned(stack, HALF_LEARNED.value):
                continue
            if pull is not None and pull >= DECAY.value:
                yield self._finding(view, stack, pull, shrunk)
            elif (
                alignment is not None
                and alignment >= ALONG_WEIGHT.value
                and shrunk <= (SHRUNK.sure or 0.0)
                and _has_several_layers(view, stack)
            ):
                yield self._penalty_finding(view, stack, alignment, shrunk)

    def _penalty_finding(self, view: RunView, stack: LayerStack, alignment: float, shrunk: float) -> Finding:
        """The same by a penalty on the weights that the loss itself contains."""
        return Finding(
            self.code,
            Severity.CRITICAL,
            min(ALONG_WEIGHT.confidence(alignment), SHRUNK.confidence(shrunk)),
            "A penalty in the loss pulls the weights to zero faster than the data can hold them.",
            f"The gradients point along the weights themselves (cosine {alignment:.2f}; of data it is about 0), and the weights "
            f"have shrunk to {wording.format_percent(wording.power_of_ten(shrunk))} of their size.",
            advice="Lower the weight of the penalty in the loss, by a factor of a hundred as a start.",
            sites=view.site_labels(stack.layers),
            cause=Cause(self.code),
            evidence=(
                ALONG_WEIGHT.as_evidence("gradient along the weights", alignment),
                SHRUNK.as_evidence("weights against the start", shrunk),
            ),
            began=int(view.run.sampled[0]),
        )

    def _finding(self, view: RunView, stack: LayerStack, pull: float, shrunk: float) -> Finding:
        groups = [g for g in view.structure.groups if g.optimizer == stack.objective]
        decay = max(g.setting("weight_decay") for g in groups)
        sizes = nanmedian(view.values("log10_weight_rms")[:, view.weight_matrices(stack)].T)
        return Finding(
            self.code,
            Severity.CRITICAL,
            min(DECAY.confidence(pull, MEASURED_FAULT), SHRUNK.confidence(shrunk, MEASURED_FAULT)),
            "Weight decay pulls the weights to zero faster than the data can hold them.",
            f"With a weight decay of {wording.format_number(decay)} the pull to zero is {wording.power_of_ten(pull):.1f} times "
            f"that of the loss, and the weights have shrunk to {wording.format_percent(wording.power_of_ten(shrunk))} of their "
            "size.",
            advice="Lower the weight decay, to 1e-4 for SGD or 1e-2 for AdamW as a start.",
            sites=view.site_labels(stack.layers),
            cause=Cause(self.code),
            evidence=(DECAY.as_evidence("decay over gradient", pull), SHRUNK.as_evidence("weights against the start", shrunk)),
            remedies=("adamw",),
            began=int(view.run.sampled[0]),
            trend=classify_trend(sizes, worse=-1, step=0.05),
        )


def _has_several_layers(view: RunView, stack: LayerStack) -> bool:
    """Whether there are several layers: of a single one the best weights may well be zero."""
    return len(view.weight_matrices(stack)) > 1


def _gradient_along_weight(view: RunView, stack: LayerStack) -> float | None:
    """Median cosine between gradients and weights over the early samples; None where it was never measured."""
    values = view.values("gradient_along_weight")[:EARLY_ROWS, view.weight_matrices(stack)]
    return float(np.median(values[np.isfinite(values)])) if np.isfinite(values).any() else None


def _log10_pull(view: RunView, stack: LayerStack) -> float | None:
    """Median over weight matrices of log10 of the decay's pull over the loss's, where it was strongest while weights shrank."""
    weights, gradients, updates, rates = (
        view.values(name) for name in ("log10_weight_rms", "log10_weight_gradient_rms", "log10_update_rms", "learning_rate")
    )
    medians: list[float] = []
    for index in view.weight_matrices(stack):
        group_index = view.parameter(index).group
        if group_index is None or not (decay := view.structure.groups[group_index].setting("weight_decay")) > 0:
            continue
        with np.errstate(invalid="ignore", divide="ignore"):
            if is_decoupled(view.structure.groups[group_index]):
                pulls = (
                    math.log10(decay)
                    + np.log10(rates[:, group_index])
                    + weights[:, index]
                    - _without_decay(updates[:, index], decay, rates[:, group_index], weights[:, index])
                )
            else:
                pulls = math.log10(decay) + weights[:, index] - gradients[:, index]
        pulls = pulls[np.isfinite(pulls)]
        if len(pulls):
            medians.append(float(np.median(pulls)))
    return float(np.median(medians)) if medians else None


def _without_decay(
    update: np.ndarray[tuple[int], np.dtype[np.float64]],
    decay: float,
    rate: np.ndarray[tuple[int], np.dtype[np.float64]],
    weight: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """log10 of the update without what a decoupled decay did of it, at least a tenth of it: the two are about orthogonal."""
    squared_update, squared_decay = 10.0 ** (2 * update), (decay * rate * 10.0**weight) ** 2
    return 0.5 * np.log10(np.maximum(squared_update - squared_decay, 0.01 * squared_update))


def is_decoupled(group: OptimizerGroup) -> bool:
    """Whether an optimizer shrinks the weights themselves, instead of adding to the gradient."""
    return group.class_name.lower().startswith(DECOUPLED_OPTIMIZERS) or group.setting("decoupled_weight_decay") > 0


def _log10_shrinkage(view: RunView, stack: LayerStack) -> float | None:
    """Median log10 of the weight matrices' size at the end over that at the start."""
    weight_matrices = view.weight_matrices(stack)
    change = log10_ratio(view.late_median("log10_weight_rms"), view.values("log10_weight_rms")[0])[weight_matrices]
    change = change[~np.isnan(change)]
    return float(np.median(change)) if len(change) else None
