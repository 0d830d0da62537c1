"""saturated-activation: hidden units sit at the flat ends of their activation, where no gradient passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.gradient_profile import SATURATING
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import LayerStack, Row, RunView
from unvanish.diagnose.thresholds import HALF_LEARNED, SATURATED, SOUND_FOR_TANH, WELL_LEARNED
from unvanish.diagnose.trend import trend
from unvanish.record.finding import Cause, Finding, Severity


@final
class SaturatedActivation(Rule):
    """More than half of a hidden layer's inputs lie where the activation is flat, from the first steps on.

    Sees: the share of inputs at which the activation's own slope is under a twentieth of its steepest.

    Why it matters: these units pass on no gradient and hardly change.

    Known problems: an output layer that saturates because it is sure is healthy, so the last activation of a chain is left out,
    and so is a network that learns.

    Example: normal weights with a deviation of 1 in a tanh network of width 128.

    References: Glorot and Bengio 2010.
    """

    code: ClassVar[str] = "saturated-activation"
    rank: ClassVar[int] = 35
    explains: ClassVar[frozenset[str]] = frozenset({"loss-not-decreasing", "vanishing-gradient", "learning-rate-too-low"})

    def examine(self, chart: RunView) -> Iterator[Finding]:
        early, late = chart.early("saturated_fraction"), chart.late("saturated_fraction")
        for chain in chart.chains:
            last_layer = max((chart.site(i).order for i in chain.layers), default=-1)
            hidden = [i for i in chain.activations if chart.site(i).op in SATURATING and chart.site(i).order < last_layer]
            flat = [i for i in hidden if early[i] >= SATURATED.value and late[i] >= SATURATED.value]
            if flat and not chart.learned(chain, WELL_LEARNED.value if _nearly_all(early, flat) else HALF_LEARNED.value):
                yield self._finding(chart, chain, flat)

    def _finding(self, chart: RunView, chain: LayerStack, flat: list[int]) -> Finding:
        shares = chart.early("saturated_fraction")[flat]
        worst = int(np.argmax(shares))
        spread = float(chart.early("activation_std")[max(0, flat[0] - 1)])
        from_input = bool(flat[0] == chain.activations[0])
        name = chart.anatomy.site_label(flat[worst])
        return Finding(
            self.code,
            Severity.CRITICAL,
            SATURATED.confidence(float(shares[worst]), least=0.8, most=0.95),
            f"In {wording.span(chart.labels(flat))} most units are stuck at the ends of their range.",
            f"{wording.percent(float(shares[worst]))} of the inputs of {name} lie where it is flat, so no gradient passes there. "
            f"What arrives there has a standard deviation of {wording.quantity(spread)}: "
            + ("the weights or the inputs before it are too large." if from_input else "the weights before it are too large."),
            advice="Draw smaller initial weights, scale the inputs, or normalise before the activation.",
            sites=chart.labels(flat),
            cause=Cause(_cause(chart, chain)),
            evidence=(SATURATED.shown("saturated_fraction", float(shares[worst]), name),),
            remedies=("glorot-init", "batchnorm", "relu + he-init", "lecun-init", "orthogonal-init"),
            began=int(chart.run.sampled[0]),
            location=chart.location(flat[0]),
            trend=trend(chart.values("saturated_fraction")[:, flat[worst]], worse=1, step=0.05),
        )


def _nearly_all(early: Row, flat: list[int]) -> bool:
    """Whether hardly any unit of these layers is left between the ends."""
    return bool(np.median(early[flat]) >= (SATURATED.sure or 1.0))


def _cause(chart: RunView, chain: LayerStack) -> str:
    """Large weights where they are; else the activation, which is too steep for weights of ordinary size."""
    scale = chart.start_scale(chain)
    return "saturating-activation" if scale is not None and scale <= SOUND_FOR_TANH.value else "off-critical-init"
