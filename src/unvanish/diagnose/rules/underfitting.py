"""underfitting: the network has done what it can, and that is too little for the task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import TINY, LayerStack, RunView
from unvanish.diagnose.thresholds import ENOUGH_NEIGHBOURS, PREDICTABLE, SETTLED, SHARE_TOLD
from unvanish.record.finding import Cause, Evidence, Finding, Severity

MANY_STEPS = 50
NOISES = 2.0


@final
class Underfitting(Rule):
    """The loss has settled far above what the data allow, while nothing is wrong with gradients, steps or numbers.

    Sees: how much the network has learned, whether the loss still falls, and how well each example's target is told by those of the
    most similar inputs in earlier batches, which no network had a hand in.

    Why it matters: such a network is too small, too straight or too strongly held back for its task. More steps do not help.

    Known problems: where the task is not told by similar inputs (sequences, text), nothing can be said.

    Example: a linear model on two rings of points, one inside the other.

    References: Geman 1992, "Neural networks and the bias/variance dilemma"; Cover and Hart 1967.
    """

    code: ClassVar[str] = "underfitting"
    rank: ClassVar[int] = 74
    explains: ClassVar[frozenset[str]] = frozenset({"loss-not-decreasing"})
    last_resort: ClassVar[bool] = True

    def examine(self, chart: RunView) -> Iterator[Finding]:
        for chain in chart.chains:
            heads = chart.heads(chain)
            if len(heads) != 1:
                continue
            told, skill = _told(chart, heads[0]), chart.skill(chain)
            if (
                told is None
                or skill is None
                or skill >= SHARE_TOLD.value * told**2
                or told < PREDICTABLE.value
                or not _settled(chart, chain)
            ):
                continue
            yield self._finding(chart, chain, told, max(skill, 0.0))

    def _finding(self, chart: RunView, chain: LayerStack, told: float, skill: float) -> Finding:
        size = sum(
            chart.parameter(i).size for i, p in enumerate(chart.anatomy.parameters) if p.trainable and p.network in chain.networks
        )
        return Finding(
            self.code,
            Severity.CRITICAL,
            PREDICTABLE.confidence(told, least=0.75, most=0.9),
            "The network is too simple for its task: it has learned what it can.",
            f"It has learned {wording.percent(skill)} of what there is to learn, and its loss has settled. The data hold "
            "more: the targets of "
            f"similar inputs tell an example's own with a correlation of {told:.2f}. The network has {size:,} trainable weights in "
            f"{wording.count(len(chain.layers), 'layer')}.",
            advice="Add a hidden layer or width, or hold it back less (weight decay, dropout).",
            sites=chart.labels(chain.layers),
            cause=Cause(self.code),
            evidence=(
                PREDICTABLE.shown("correlation with similar inputs", told),
                Evidence("learned", skill, "fraction", SHARE_TOLD.value * told**2, "half of what similar inputs tell"),
            ),
            began=int(chart.run.sampled[0]),
        )


def _told(chart: RunView, head: int) -> float | None:
    related, count = chart.values("neighbour_correlation")[:, head], chart.values("neighbour_count")[:, head]
    known = np.flatnonzero(np.isfinite(related))
    return float(related[known[-1]]) if len(known) and count[known[-1]] >= ENOUGH_NEIGHBOURS.value else None


def _settled(chart: RunView, chain: LayerStack) -> bool:
    course = chart.course(chain.objective)
    if course is None or course.steps < MANY_STEPS or not course.finite:
        return False
    size = max(abs(course.end), TINY)
    fall, noise = course.late_fall * abs(course.start) / size, course.noise * abs(course.start) / size
    return fall < max(SETTLED.value, NOISES * noise)
