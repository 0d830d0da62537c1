"""The rule degenerate-labels: the targets do not depend on the inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import BY_ELIMINATION, EQUAL_TARGETS
from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import BY_HEART, ENOUGH_NEIGHBOURS, NO_RELATION, SLOW, UNLEARNED
from unvanish.record.finding import Cause, Evidence, Finding, Severity
from unvanish.record.structure import Location

MIN_STEPS = 30


@final
class DegenerateLabels(Rule):
    """Every target is the same, or similar inputs have no more similar targets than any others, and the network learns nothing.

    Sees: the targets of every criterion, and how well each example's target is told by those of the most similar inputs in
    earlier batches; how much the network has learned of them.

    Why it matters: no network and no remedy can learn what is not in the data. Most often inputs or targets were shuffled
    without the other.

    Known problems: similarity of raw inputs says little of sequences, and of tasks whose rule is hidden (a sum, a parity): so
    this is concluded only where nothing else is wrong, and the network, though it moves, learns nothing either.

    Example: `x = x[torch.randperm(len(x))]` without the same for `y`.

    References: Zhang 2017, "Understanding deep learning requires rethinking generalization" (arXiv 1611.03530).
    """

    code: ClassVar[str] = "degenerate-labels"
    rank: ClassVar[int] = 72
    explains: ClassVar[frozenset[str]] = frozenset({"loss-not-decreasing", "underfitting", "overfitting"})
    last_resort: ClassVar[bool] = True

    def examine(self, view: RunView) -> Iterator[Finding]:
        if len(view.stacks) != 1:
            return  # the targets of adversarial networks never change
        stack, curve = view.stacks[0], view.loss_curve()
        heads = view.heads(stack)
        if curve is None or curve.steps < MIN_STEPS or len(heads) != 1:
            return
        finding = self._constant(view, stack, heads[0]) or self._unrelated(view, stack, heads[0])
        if finding is not None:
            yield finding

    def _constant(self, view: RunView, stack: LayerStack, head: int) -> Finding | None:
        columns = (view.values(name)[:, head] for name in ("target_low", "target_high"))
        low, high = (column[np.isfinite(column)] for column in columns)
        if view.structure.heads[head].parameter is None or not (len(low) and len(high)) or low.min() != high.max():
            return None
        target = float(low.min())
        return self._finding(
            view,
            stack,
            head,
            EQUAL_TARGETS.value,
            "All targets are the same, so there is nothing to learn from them.",
            f"Every target that was seen is {wording.format_number(target)}.",
            (Evidence("spread of the targets", 0.0, "1", 0.0, "largest minus smallest target"),),
        )

    def _unrelated(self, view: RunView, stack: LayerStack, head: int) -> Finding | None:
        correlation, count, seen_before = (
            _last_finite(view.values(name)[:, head]) for name in ("neighbour_correlation", "neighbour_count", "seen_before")
        )
        explained, update_ratio = view.explained_loss(stack), view.update_ratio(stack)
        if correlation is None or count is None or explained is None or update_ratio is None or count < ENOUGH_NEIGHBOURS.value:
            return None
        standard_errors = correlation * math.sqrt(count)
        is_moving = update_ratio > SLOW.value
        largest_share = UNLEARNED.value + BY_HEART.value * (seen_before or 0.0)
        if standard_errors >= NO_RELATION.value or explained >= largest_share or not is_moving:
            return None
        return self._finding(
            view,
            stack,
            head,
            NO_RELATION.confidence(standard_errors, BY_ELIMINATION),
            "The labels have nothing to do with the inputs: inputs that look alike have unlike labels.",
            f"Of {count:.0f} examples, the labels of the most similar inputs tell their own with a correlation of "
            f"{correlation:.2f}, no more than chance. The network moves, and has learned "
            f"{wording.format_percent(max(explained, 0.0))} of what there would be to learn.",
            (NO_RELATION.as_evidence("correlation with similar inputs, in standard errors", standard_errors),),
        )

    def _finding(
        self,
        view: RunView,
        stack: LayerStack,
        head: int,
        confidence: float,
        summary: str,
        why: str,
        evidence: tuple[Evidence, ...],
    ) -> Finding:
        location: Location | None = view.structure.heads[head].location
        return Finding(
            self.code,
            Severity.CRITICAL,
            confidence,
            summary,
            why,
            advice="Look at a few inputs beside their labels, and at every place where one is shuffled, sorted or joined without "
            "the other.",
            sites=view.site_labels(stack.layers[-1:]),
            cause=Cause(self.code),
            evidence=evidence,
            began=int(view.run.sampled[0]),
            location=location,
        )


def _last_finite(series: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float | None:
    known = series[np.isfinite(series)]
    return float(known[-1]) if len(known) else None
