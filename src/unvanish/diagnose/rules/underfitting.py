"""The rule underfitting: the loss has settled far above what the data allow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import FROM_ONE_STATISTIC
from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import TINY, RunView
from unvanish.diagnose.thresholds import ENOUGH_NEIGHBOURS, PREDICTABLE, SETTLED, SHARE_TOLD
from unvanish.record.finding import Cause, Evidence, Finding, Severity

MIN_STEPS = 50
STANDARD_ERRORS = 2.0  # of a fall that is more than noise


@final
class Underfitting(Rule):
    """The loss has settled far above what the data allow, while nothing is wrong with gradients, steps or numbers.

    Sees: how much the network has learned, whether the loss still falls, and how well each example's target is told by those of the
    most similar inputs in earlier batches, which no network had a hand in.

    Why it matters: such a network is too small, too straight or too strongly held back for its task. More steps do not help.

    Known problems: where the task is not told by similar inputs (sequences, text), nothing can be said; nor where most weights lie
    in layers of a kind that is not known. Frozen layers compute too: where most weights are frozen, it is a remark only.

    Example: a linear model on two rings of points, one inside the other.

    References: Geman 1992, "Neural networks and the bias/variance dilemma"; Cover and Hart 1967.
    """

    code: ClassVar[str] = "underfitting"
    rank: ClassVar[int] = 74
    explains: ClassVar[frozenset[str]] = frozenset({"loss-not-decreasing"})
    last_resort: ClassVar[bool] = True

    def examine(self, view: RunView) -> Iterator[Finding]:
        for stack in view.stacks:
            heads, weights = view.heads(stack), view.structure.count_weights(stack.networks)
            if len(heads) != 1 or weights.is_mostly_unknown:
                continue
            correlation, explained = _neighbour_correlation(view, heads[0]), view.explained_loss(stack)
            if (
                correlation is None
                or explained is None
                or explained >= SHARE_TOLD.value * correlation**2
                or correlation < PREDICTABLE.value
                or not _is_settled(view, stack)
                or not view.has_fixed_targets(stack)
            ):
                continue
            finding = self._frozen_finding if weights.is_mostly_frozen else self._finding
            yield finding(view, stack, correlation, max(explained, 0.0))

    def _finding(self, view: RunView, stack: LayerStack, correlation: float, explained: float) -> Finding:
        size = sum(
            view.parameter(i).size for i, p in enumerate(view.structure.parameters) if p.trainable and p.network in stack.networks
        )
        return Finding(
            self.code,
            Severity.CRITICAL,
            PREDICTABLE.confidence(correlation, FROM_ONE_STATISTIC),
            "The network is too simple for its task: it has learned what it can.",
            f"It has learned {wording.format_percent(explained)} of what there is to learn, and its loss has settled. The data "
            f"hold more: the targets of similar inputs tell an example's own with a correlation of {correlation:.2f}. The network "
            f"has {size:,} trainable weights in {wording.format_count(len(stack.layers), 'layer')}.",
            advice="Add a hidden layer or width, or hold it back less (weight decay, dropout).",
            sites=view.site_labels(stack.layers),
            cause=Cause(self.code),
            evidence=(
                PREDICTABLE.as_evidence("correlation with similar inputs", correlation),
                Evidence("learned", explained, "fraction", SHARE_TOLD.value * correlation**2, "half of what similar inputs tell"),
            ),
            began=int(view.run.sampled[0]),
        )

    def _frozen_finding(self, view: RunView, stack: LayerStack, correlation: float, explained: float) -> Finding:
        """A remark on a head that has learned what its frozen layers tell it: their weights compute, and are not too few."""
        weights = view.structure.count_weights(stack.networks)
        return Finding(
            self.code,
            Severity.INFO,
            PREDICTABLE.confidence(correlation, FROM_ONE_STATISTIC),
            "The layers that are trained have learned what the frozen ones tell them.",
            f"They have learned {wording.format_percent(explained)} of what there is to learn, and the loss has settled. "
            f"{weights.frozen:,} of {weights.total:,} weights are frozen.",
            advice="If that is not enough, let more layers learn, with a small learning rate.",
            sites=view.site_labels(stack.layers),
            cause=Cause(self.code),
            evidence=(PREDICTABLE.as_evidence("correlation with similar inputs", correlation),),
            began=int(view.run.sampled[0]),
        )


def _neighbour_correlation(view: RunView, head: int) -> float | None:
    correlations, count = view.values("neighbour_correlation")[:, head], view.values("neighbour_count")[:, head]
    known = np.flatnonzero(np.isfinite(correlations))
    return float(correlations[known[-1]]) if len(known) and count[known[-1]] >= ENOUGH_NEIGHBOURS.value else None


def _is_settled(view: RunView, stack: LayerStack) -> bool:
    curve = view.loss_curve(stack.objective)
    if curve is None or curve.steps < MIN_STEPS or not curve.finite:
        return False
    size = max(abs(curve.end), TINY)
    fall, noise = curve.late_fall * abs(curve.start) / size, curve.noise * abs(curve.start) / size
    return fall < max(SETTLED.value, STANDARD_ERRORS * noise)
