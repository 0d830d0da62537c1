"""The rule clipping-dominates: every gradient is clipped so short that the weights hardly move."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import MEASURED_FAULT
from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import CLIPPED, CLIPPED_HARD, HARDLY_LEARNED, SLOW, STEADY_FACTOR
from unvanish.record.finding import Cause, Finding, Severity

MIN_STEPS = 30


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

    def examine(self, view: RunView) -> Iterator[Finding]:
        for stack in view.stacks:
            kept, update_ratio, curve = _log10_kept(view, stack), view.update_ratio(stack), view.loss_curve(stack.objective)
            if kept is None or update_ratio is None or curve is None or curve.steps < MIN_STEPS:
                continue
            is_slow = update_ratio <= SLOW.value or (kept <= CLIPPED_HARD.value and _uses_plain_gradient(view, stack))
            if kept <= CLIPPED.value and is_slow and not view.has_learned(stack, HARDLY_LEARNED.value):
                yield self._finding(view, stack, kept, update_ratio)

    def _finding(self, view: RunView, stack: LayerStack, kept: float, update_ratio: float) -> Finding:
        return Finding(
            self.code,
            Severity.CRITICAL,
            CLIPPED.confidence(kept, MEASURED_FAULT),
            "The gradients are clipped so short that the network hardly moves.",
            f"Of every gradient {wording.format_percent(wording.power_of_ten(kept))} is left by clipping, and half of the layers "
            f"change by less than {wording.power_of_ten(update_ratio):.1e} of their size a step.",
            advice="Raise the limit to about the gradient's usual norm, so that it acts on outliers only, or clip by the size of "
            "the weights.",
            sites=view.site_labels(stack.layers),
            cause=Cause(self.code),
            evidence=(
                CLIPPED.as_evidence("gradient used over gradient left", kept),
                SLOW.as_evidence("relative update", update_ratio),
            ),
            remedies=("clip-norm", "adamw", "learning-rate"),
            began=int(view.run.sampled[0]),
        )


def _uses_plain_gradient(view: RunView, stack: LayerStack) -> bool:
    """Whether the updates are proportional to the gradient, so that clipping shortens them."""
    return all(g.class_name == "SGD" for g in view.structure.groups if g.optimizer == stack.objective)


def _log10_kept(view: RunView, stack: LayerStack) -> float | None:
    """Median log10 of the share of the gradient that is kept; None where it is the same at every step, as a scaler's factor is."""
    groups = [i for i, g in enumerate(view.structure.groups) if g.optimizer == stack.objective]
    values = view.values("log10_gradient_kept")
    factors = values[:, [i for i in groups if i < values.shape[1]]]
    factors = factors[np.isfinite(factors)]
    if len(factors) < 3 or float(np.ptp(factors)) < STEADY_FACTOR.value:
        return None
    return float(np.median(factors))
