"""clipping-dominates: the gradient is cut so short at every step that the network hardly moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import LayerStack, RunView
from unvanish.diagnose.thresholds import CLIPPED, CLIPPED_HARD, HARDLY_LEARNED, SLOW, STEADY_FACTOR
from unvanish.record.finding import Cause, Finding, Severity

MANY_STEPS = 30


@final
class ClippingDominates(Rule):
    """Nine tenths or more of every gradient are cut off before the optimizer uses it, and the steps that are left are too
    small.

    Sees: the norm of the gradient that the optimizer uses, over that which backward left; the size of the updates; the loss.

    Why it matters: a limit that acts at every step is no safeguard, but a second learning rate that nobody chose.

    Known problems: large language models clip at every step and thrive, because their optimizer rescales what is left: so a
    network that moves at the usual pace, or learns, is left alone. What a gradient scaler divides by is the same at every step,
    and not meant.

    Example: SGD at 0.02 with `clip_grad_norm_(..., 0.005)`.

    References: Pascanu 2013 (arXiv 1211.5063); Zhang 2020 (arXiv 1905.11881).
    """

    code: ClassVar[str] = "clipping-dominates"
    rank: ClassVar[int] = 50
    explains: ClassVar[frozenset[str]] = frozenset({"loss-not-decreasing", "learning-rate-too-low", "optimizer-epsilon"})

    def examine(self, chart: RunView) -> Iterator[Finding]:
        for chain in chart.chains:
            kept, pace, course = _kept(chart, chain), chart.pace(chain), chart.course(chain.objective)
            if kept is None or pace is None or course is None or course.steps < MANY_STEPS:
                continue
            slow = pace <= SLOW.value or (kept <= CLIPPED_HARD.value and _plain(chart, chain))
            if kept <= CLIPPED.value and slow and not chart.learned(chain, HARDLY_LEARNED.value):
                yield self._finding(chart, chain, kept, pace)

    def _finding(self, chart: RunView, chain: LayerStack, kept: float, pace: float) -> Finding:
        return Finding(
            self.code,
            Severity.CRITICAL,
            CLIPPED.confidence(kept, least=0.85),
            "The gradients are clipped so short that the network hardly moves.",
            f"Of every gradient {wording.percent(wording.ten_to(kept))} is left by clipping, and half of the layers change by "
            f"less than {wording.ten_to(pace):.1e} of their size a step.",
            advice="Raise the limit to about the gradient's usual norm, so that it acts on outliers only, or clip by the size of "
            "the weights.",
            sites=chart.labels(chain.layers),
            cause=Cause(self.code),
            evidence=(CLIPPED.shown("gradient used over gradient left", kept), SLOW.shown("relative update", pace)),
            remedies=("clip-norm", "adamw", "learning-rate"),
            began=int(chart.run.sampled[0]),
        )


def _plain(chart: RunView, chain: LayerStack) -> bool:
    """Whether the optimizer moves by the gradient as it is, so that what is cut off is missing."""
    return all(g.class_name == "SGD" for g in chart.anatomy.groups if g.optimizer == chain.objective)


def _kept(chart: RunView, chain: LayerStack) -> float | None:
    """Median log10 of what is left of the gradient; None where that is the same at every step, as a scaler's factor is."""
    groups = [i for i, g in enumerate(chart.anatomy.groups) if g.optimizer == chain.objective]
    values = chart.values("log10_gradient_kept")
    factors = values[:, [i for i in groups if i < values.shape[1]]]
    factors = factors[np.isfinite(factors)]
    if len(factors) < 3 or float(np.ptp(factors)) < STEADY_FACTOR.value:
        return None
    return float(np.median(factors))
