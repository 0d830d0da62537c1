"""stale-gradient: gradients are never cleared, so that each step repeats all those before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import MOSTLY, STALE
from unvanish.record.finding import Cause, Finding, Severity

FEWEST = 3


@final
class StaleGradient(Rule):
    """When a backward pass begins, the gradients of the step before are still there.

    Sees: what every parameter's gradient holds at the first backward call after its own update.

    Why it matters: gradients then pile up over the whole run, and each step goes on in the direction of all those before, with a
    length that grows without end.

    Known problems: to accumulate over several backward calls within one step is sound, and not meant: there they begin cleared.

    Example: a loop without `optimizer.zero_grad()`.

    References: PyTorch documentation, "Zeroing out gradients in PyTorch".
    """

    code: ClassVar[str] = "stale-gradient"
    rank: ClassVar[int] = 4
    explains: ClassVar[frozenset[str]] = frozenset(
        {"loss-not-decreasing", "exploding-gradient", "non-finite", "learning-rate-too-high", "dead-units", "vanishing-gradient"}
        | {"saturated-activation", "learning-rate-too-low", "overfitting", "weight-decay-dominates", "representation-collapse"}
        | {"clipping-dominates", "attention-collapse", "running-stats-drift"}
    )

    def examine(self, chart: RunView) -> Iterator[Finding]:
        for chain in chart.chains:
            owned = chart.matrices(chain)
            held = chart.values("log10_stale_share")[1:, owned]
            known = ~np.isnan(held).all(axis=1) if held.size else np.zeros(0, bool)
            if known.sum() < FEWEST:
                continue
            with_rest = np.array([(row[~np.isnan(row)] >= STALE.value).mean() >= MOSTLY.value for row in held[known]])
            if with_rest.mean() < MOSTLY.value:
                continue
            values = held[known]
            share = float(np.median(values[np.isfinite(values)]))
            yield Finding(
                self.code,
                Severity.CRITICAL,
                STALE.confidence(share, least=0.95, most=0.98),
                "Gradients are never cleared: each step repeats all those before it.",
                f"When backward begins, {wording.percent(wording.ten_to(min(share, 0.0)))} of the gradient that the optimizer will "
                "use "
                f"is there already, left from the steps before, in {wording.percent(with_rest.mean())} of the sampled steps.",
                advice="Call optimizer.zero_grad() once in every step, before backward.",
                sites=chart.labels(chain.layers),
                cause=Cause(self.code),
                evidence=(STALE.shown("gradient held over gradient used", share),),
                began=int(chart.run.sampled[0]),
            )
