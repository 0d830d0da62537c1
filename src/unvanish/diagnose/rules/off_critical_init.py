"""The rule off-critical-init: mean-field theory predicts a vanishing or exploding gradient from the initial weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, final

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import PREDICTED_SCALE
from unvanish.diagnose.gradient_profile import SATURATING
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import NEAR_CRITICAL, OFF_CRITICAL
from unvanish.record.examination import Examination
from unvanish.record.finding import Cause, Evidence, Finding, Severity
from unvanish.record.theory_prediction import Prediction

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

    def examine(self, view: RunView) -> Iterator[Finding]:
        examination = view.run.examination
        prediction = examination.prediction if examination is not None else None
        if examination is None or prediction is None or prediction.decades is None:
            return
        decades, sw, critical_sw = prediction.decades, prediction.sw, prediction.critical_sw
        if sw is None or critical_sw is None:
            return
        if not prediction.phase:  # normalised: the scale of the weights is of no consequence
            return
        if not OFF_CRITICAL.value <= abs(decades) < math.inf or not sw > 0.0:  # weights of zero have no scale
            return
        if abs(sw / critical_sw - 1.0) < NEAR_CRITICAL.value or _is_mostly_saturation(examination):
            return
        yield self._finding(view, examination, prediction, decades, sw, critical_sw)

    def _finding(
        self, view: RunView, examination: Examination, prediction: Prediction, decades: float, sw: float, critical_sw: float
    ) -> Finding:
        is_trained = view.loss_curve() is not None  # then its own gradient shows whether the scale does harm
        return Finding(
            self.code,
            Severity.INFO if is_trained else Severity.WARNING,
            PREDICTED_SCALE.value,
            f"The initial weights are too {'small' if sw < critical_sw else 'large'} for {len(prediction.layers)} layers.",
            f"At this depth and initialisation the gradient should {'lose' if decades < 0 else 'gain'} "
            f"{wording.format_decades(decades)} between the output and the input; measured: {abs(examination.flow.total):.1f}. "
            f"The weights start at a scale of {sw:.2f} (sqrt(fan_in) times their standard deviation), where {critical_sw:.2f} "
            f"would be critical.{_trainable_depth_sentence(prediction)}",
            advice=f"Draw the weights {critical_sw / sw:.2f} times as large, or normalise before the activations.",
            sites=tuple(layer.label for layer in prediction.layers),
            cause=Cause(self.code),
            evidence=(
                Evidence("predicted gain", decades, "log10", math.copysign(OFF_CRITICAL.value, decades), OFF_CRITICAL.source),
                Evidence("weight scale", sw, "1", critical_sw, "the critical scale for this activation (Schoenholz 2017)"),
            ),
            remedies=("he-init", "critical-init", "batchnorm", "orthogonal-init")
            if _main_activation(prediction) in RELUS
            else ("glorot-init", "critical-init", "orthogonal-init", "batchnorm"),
            began=int(view.run.sampled[0]),
            location=next((op.location for op in examination.flow.ops if op.kind == "weight" and op.visits), None),
        )


def _is_mostly_saturation(examination: Examination) -> bool:
    """Whether saturating activations take more than half of what is lost."""
    total = examination.flow.total
    taken = sum(op.decades for op in examination.flow.ops if op.visits and op.op in SATURATING)
    return total < 0 and taken / total >= 0.5


def _trainable_depth_sentence(prediction: Prediction) -> str:
    if prediction.trainable_depth is None or prediction.trainable_depth >= len(prediction.layers):
        return ""
    return f" As they are, about {max(1, round(prediction.trainable_depth))} layers could be trained."


def _main_activation(prediction: Prediction) -> str:
    names = [layer.activation for layer in prediction.layers if layer.activation != "linear"]
    return max(set(names), key=names.count, default="linear")
