"""degenerate-labels: the targets say nothing about the inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import LayerStack, RunView
from unvanish.diagnose.thresholds import BY_HEART, ENOUGH_NEIGHBOURS, NO_RELATION, SLOW, UNLEARNED
from unvanish.record.finding import Cause, Evidence, Finding, Severity
from unvanish.record.structure import Location

MANY_STEPS = 30


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

    def examine(self, chart: RunView) -> Iterator[Finding]:
        if len(chart.chains) != 1:
            return  # opponents are given targets that never change
        chain, course = chart.chains[0], chart.course()
        heads = chart.heads(chain)
        if course is None or course.steps < MANY_STEPS or len(heads) != 1:
            return
        found = self._constant(chart, chain, heads[0]) or self._unrelated(chart, chain, heads[0])
        if found is not None:
            yield found

    def _constant(self, chart: RunView, chain: LayerStack, head: int) -> Finding | None:
        low, high = (
            each[np.isfinite(each)] for each in (chart.values("target_low")[:, head], chart.values("target_high")[:, head])
        )
        if chart.anatomy.heads[head].parameter is None or not (len(low) and len(high)) or low.min() != high.max():
            return None
        same = float(low.min())
        return self._finding(
            chart,
            chain,
            head,
            0.9,
            "All targets are the same, so there is nothing to learn from them.",
            f"Every target that was seen is {wording.quantity(same)}.",
            (Evidence("spread of the targets", 0.0, "1", 0.0, "largest minus smallest target"),),
        )

    def _unrelated(self, chart: RunView, chain: LayerStack, head: int) -> Finding | None:
        related, count, seen = (
            _last(chart.values(name)[:, head]) for name in ("neighbour_correlation", "neighbour_count", "seen_before")
        )
        skill, pace = chart.skill(chain), chart.pace(chain)
        if related is None or count is None or skill is None or pace is None or count < ENOUGH_NEIGHBOURS.value:
            return None
        errors = related * math.sqrt(count)
        moves = pace > SLOW.value
        most = UNLEARNED.value + BY_HEART.value * (seen or 0.0)
        if errors >= NO_RELATION.value or skill >= most or not moves:
            return None
        return self._finding(
            chart,
            chain,
            head,
            NO_RELATION.confidence(errors, least=0.7, most=0.9),
            "The labels have nothing to do with the inputs: inputs that look alike have unlike labels.",
            f"Of {count:.0f} examples, the labels of the most similar inputs tell their own with a correlation of "
            f"{related:.2f}, no more than "
            f"chance. The network moves, and has learned {wording.percent(max(skill, 0.0))} of what there would be to learn.",
            (NO_RELATION.shown("correlation with similar inputs, in standard errors", errors),),
        )

    def _finding(
        self,
        chart: RunView,
        chain: LayerStack,
        head: int,
        confidence: float,
        summary: str,
        why: str,
        evidence: tuple[Evidence, ...],
    ) -> Finding:
        where: Location | None = chart.anatomy.heads[head].location
        return Finding(
            self.code,
            Severity.CRITICAL,
            confidence,
            summary,
            why,
            advice="Look at a few inputs beside their labels, and at every place where one is shuffled, sorted or joined without "
            "the other.",
            sites=chart.labels(chain.layers[-1:]),
            cause=Cause(self.code),
            evidence=evidence,
            began=int(chart.run.sampled[0]),
            location=where,
        )


def _last(series: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float | None:
    known = series[np.isfinite(series)]
    return float(known[-1]) if len(known) else None
