"""off-critical-init: the initial weights are at another scale than this depth and activation can bear."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, final

from unvanish.diagnose import wording
from unvanish.diagnose.gradient_profile import SATURATING
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import NEAR_CRITICAL, OFF_CRITICAL
from unvanish.record.examination import Examination
from unvanish.record.finding import Cause, Evidence, Finding, Severity
from unvanish.record.prediction import Prediction

RELUS = frozenset({"relu", "leaky-relu", "relu6", "gelu", "silu", "mish", "hard-swish"})


@final
class OffCriticalInit(Rule):
    """Theory expects this depth to shrink or blow up the gradient a thousandfold, because the weights start at another scale
    than critical.

    Sees: the forecast for the network's own weights, and the scale that would neither shrink nor blow up.

    Why it matters: it is known before the first step, and cured by drawing other weights.

    Known problems: plain chains only; where a saturating activation takes most of it, that is the cause and this is not
    reported.

    Example: thirty tanh layers at PyTorch's default, whose gain is 0.58.

    References: Poole 2016 (arXiv 1606.05340); Schoenholz 2017 (arXiv 1611.01232).
    """

    code: ClassVar[str] = "off-critical-init"
    rank: ClassVar[int] = 45
    explains: ClassVar[frozenset[str]] = frozenset({"loss-not-decreasing"})

    def examine(self, chart: RunView) -> Iterator[Finding]:
        seen = chart.run.examination
        told = seen.prediction if seen is not None else None
        if seen is None or told is None or told.decades is None or told.sw is None or told.critical_sw is None:
            return
        if not told.phase:  # normalised: the scale of the weights is of no consequence
            return
        if not OFF_CRITICAL.value <= abs(told.decades) < math.inf or not told.sw > 0.0:  # zeros are at no scale
            return
        if abs(told.sw / told.critical_sw - 1.0) < NEAR_CRITICAL.value or _saturates(seen):
            return
        lost = told.decades < 0
        verb = "lose" if lost else "gain"
        yield Finding(
            self.code,
            Severity.WARNING if chart.course() is None else Severity.INFO,  # of a training, its gradient tells the harm
            0.9,
            f"The initial weights are too {'small' if told.sw < told.critical_sw else 'large'} for {len(told.layers)} layers.",
            f"At this depth and initialisation the gradient should {verb} {wording.decades(told.decades)} between the output and "
            "the "
            f"input; measured: {abs(seen.flow.total):.1f}. The weights start at a scale of {told.sw:.2f} (sqrt(fan_in) times their "
            f"standard deviation), where {told.critical_sw:.2f} would be critical.{_depth(told)}",
            advice=f"Draw the weights {told.critical_sw / told.sw:.2f} times as large, or normalise before the activations.",
            sites=tuple(layer.label for layer in told.layers),
            cause=Cause(self.code),
            evidence=(
                Evidence(
                    "predicted gain", told.decades, "log10", math.copysign(OFF_CRITICAL.value, told.decades), OFF_CRITICAL.source
                ),
                Evidence(
                    "weight scale", told.sw, "1", told.critical_sw, "the critical scale for this activation (Schoenholz 2017)"
                ),
            ),
            remedies=("he-init", "critical-init", "batchnorm", "orthogonal-init")
            if _main_activation(told) in RELUS
            else ("glorot-init", "critical-init", "orthogonal-init", "batchnorm"),
            began=int(chart.run.sampled[0]),
            location=next((op.location for op in seen.flow.ops if op.kind == "weight" and op.visits), None),
        )


def _saturates(seen: Examination) -> bool:
    """Whether saturating activations take more than half of what is lost."""
    total = seen.flow.total
    taken = sum(op.decades for op in seen.flow.ops if op.visits and op.op in SATURATING)
    return total < 0 and taken / total >= 0.5


def _depth(told: Prediction) -> str:
    if told.trainable_depth is None or told.trainable_depth >= len(told.layers):
        return ""
    return f" As they are, about {max(1, round(told.trainable_depth))} layers could be trained."


def _main_activation(told: Prediction) -> str:
    names = [layer.activation for layer in told.layers if layer.activation != "linear"]
    return max(set(names), key=names.count, default="linear")
