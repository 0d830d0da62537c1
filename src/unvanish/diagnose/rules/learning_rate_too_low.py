"""The rule learning-rate-too-low: the gradients are sound, but the updates are too small to move the weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import SHARED_SYMPTOM
from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import LATE_ROWS, LossCurve, RunView, finite_median
from unvanish.diagnose.thresholds import HALF_LEARNED, ON_ITS_WAY, SAME_WAY, SLOW
from unvanish.record.finding import Cause, Evidence, Finding, Severity

MIN_STEPS = 30


@final
class LearningRateTooLow(Rule):
    """Every layer gets a gradient, but updates are far smaller than usual and the loss hardly falls.

    Sees: the size of each update relative to its weight, in the median over the weight matrices, the loss, and whether gradients
    still point the same way from batch to batch.

    Why it matters: the network would learn, in a hundred times the time.

    Known problems: a long warm-up looks the same while it lasts; fine-tuning moves little on purpose, but then its loss is low
    from the start.

    Example: SGD at 1e-4 on a network that learns at 0.1.

    References: Karpathy, CS231n notes, "Ratio of weights:updates".
    """

    code: ClassVar[str] = "learning-rate-too-low"
    rank: ClassVar[int] = 60
    explains: ClassVar[frozenset[str]] = frozenset({"loss-not-decreasing"})

    def examine(self, view: RunView) -> Iterator[Finding]:
        for stack in view.stacks:
            curve, update_ratio = view.loss_curve(stack.objective), view.update_ratio(stack)
            if curve is None or update_ratio is None or curve.steps < MIN_STEPS:
                continue
            if (
                update_ratio > SLOW.value
                or not curve.finite
                or not (curve.fall < ON_ITS_WAY.value or _has_far_to_go(view, stack, curve))
            ):
                continue
            rates = view.late_median("learning_rate")
            rate = float(np.nanmax(rates)) if np.isfinite(rates).any() else np.nan
            yield Finding(
                self.code,
                Severity.CRITICAL,
                SLOW.confidence(update_ratio, SHARED_SYMPTOM),
                "The learning rate is too low: the network hardly moves.",
                f"Half of the layers change by less than {wording.power_of_ten(update_ratio):.1e} of their size a step (learning "
                f"rate {rate:.1e}), and the loss fell by {wording.format_percent(max(0.0, curve.fall))} in {curve.steps} steps.",
                advice="Raise the learning rate by a factor of ten, until the loss falls at once.",
                sites=view.site_labels(stack.layers),
                cause=Cause("learning-rate-too-low"),
                evidence=(
                    SLOW.as_evidence("relative update", update_ratio),
                    Evidence("fall of the loss", curve.fall, "fraction", ON_ITS_WAY.value, "a tenth of its start"),
                ),
                remedies=("learning-rate", "adamw"),
                began=view.first_sampled_step(view.update_ratios(stack) <= SLOW.value),
            )


def _has_far_to_go(view: RunView, stack: LayerStack, curve: LossCurve) -> bool:
    """Whether gradients still have one direction at the end, with half of the task ahead: larger steps would do."""
    agreement = finite_median(view.values("gradient_agreement")[-LATE_ROWS:, view.weight_matrices(stack)])
    return agreement >= SAME_WAY.value and curve.late_fall > 0 and not view.has_learned(stack, HALF_LEARNED.value)
