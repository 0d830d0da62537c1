"""The rule stale-gradient: gradients are never cleared between steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import READ_OFF_GRADIENTS
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import MOSTLY, STALE
from unvanish.record.finding import Cause, Finding, Severity

MIN_SAMPLES = 3


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

    def examine(self, view: RunView) -> Iterator[Finding]:
        for stack in view.stacks:
            weight_matrices = view.weight_matrices(stack)
            shares = view.values("log10_stale_share")[1:, weight_matrices]
            is_measured = ~np.isnan(shares).all(axis=1) if shares.size else np.zeros(0, bool)
            if is_measured.sum() < MIN_SAMPLES:
                continue
            has_stale = np.array([(row[~np.isnan(row)] >= STALE.value).mean() >= MOSTLY.value for row in shares[is_measured]])
            if has_stale.mean() < MOSTLY.value:
                continue
            values = shares[is_measured]
            share = float(np.median(values[np.isfinite(values)]))
            yield Finding(
                self.code,
                Severity.CRITICAL,
                STALE.confidence(share, READ_OFF_GRADIENTS),
                "Gradients are never cleared: each step repeats all those before it.",
                f"When backward begins, {wording.format_percent(wording.power_of_ten(min(share, 0.0)))} of the gradient that the "
                f"optimizer will use is there already, left from the steps before, in {wording.format_percent(has_stale.mean())} "
                "of the sampled steps.",
                advice="Call optimizer.zero_grad() once in every step, before backward.",
                sites=view.site_labels(stack.layers),
                cause=Cause(self.code),
                evidence=(STALE.as_evidence("gradient held over gradient used", share),),
                began=int(view.run.sampled[0]),
            )
