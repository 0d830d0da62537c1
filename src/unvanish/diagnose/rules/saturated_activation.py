"""saturated-activation: hidden units sit at the flat ends of their activation, where no gradient passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import words
from unvanish.diagnose.chart import Chain, Chart
from unvanish.diagnose.profile import SATURATING
from unvanish.diagnose.rule import Rule
from unvanish.record.finding import Cause, Evidence, Finding, Severity

# Glorot and Bengio (2010) call a layer saturated when most of its units sit at the ends; half is the mildest reading of that.
THRESHOLD = 0.5
SOURCE = "more than half of the units at the ends (Glorot and Bengio 2010)"
LEARNED = 0.5  # a loss that halved is being learned, whatever the units do


@final
class SaturatedActivation(Rule):
    """More than half of a hidden layer's inputs lie where the activation is flat, from the first steps on.

    Sees: the share of inputs at which the activation's own slope is under a twentieth of its steepest. Why it matters: these
    units pass on no gradient and hardly change. Known problems: an output layer that saturates because it is sure is
    healthy, so the last activation of a chain is left out. References: Glorot and Bengio 2010.
    """

    code: ClassVar[str] = "saturated-activation"
    rank: ClassVar[int] = 35
    explains: ClassVar[frozenset[str]] = frozenset({"loss-not-decreasing", "vanishing-gradient", "learning-rate-too-low"})

    def examine(self, chart: Chart) -> Iterator[Finding]:
        early, late = chart.early("saturated_fraction"), chart.late("saturated_fraction")
        for chain in chart.chains:
            last_layer = max((chart.site(i).order for i in chain.layers), default=-1)
            hidden = [i for i in chain.activations if chart.site(i).op in SATURATING and chart.site(i).order < last_layer]
            flat = [i for i in hidden if early[i] >= THRESHOLD and late[i] >= THRESHOLD]
            course = chart.course(chain.objective)
            if flat and not (course is not None and course.fall >= LEARNED):
                yield self._finding(chart, chain, flat)

    def _finding(self, chart: Chart, chain: Chain, flat: list[int]) -> Finding:
        shares = chart.early("saturated_fraction")[flat]
        worst = int(np.argmax(shares))
        spread = float(chart.early("activation_std")[max(0, flat[0] - 1)])
        from_input = bool(flat[0] == chain.activations[0])
        name = chart.anatomy.site_label(flat[worst])
        return Finding(
            self.code,
            Severity.CRITICAL,
            0.9 if shares[worst] >= 0.8 else 0.75,
            f"In {words.span(chart.labels(flat))} most units are stuck at the ends of their range.",
            f"{words.percent(float(shares[worst]))} of the inputs of {name} lie where it is flat, so no gradient passes there. "
            f"What arrives there has a standard deviation of {words.quantity(spread)}: "
            + ("the weights or the inputs before it are too large." if from_input else "the weights before it are too large."),
            advice="Draw smaller initial weights, scale the inputs, or normalise before the activation.",
            sites=chart.labels(flat),
            cause=Cause("off-critical-init"),
            evidence=(Evidence("saturated_fraction", float(shares[worst]), "fraction", THRESHOLD, SOURCE, name),),
            remedies=("glorot-init", "batchnorm", "relu + he-init"),
            began=int(chart.run.sampled[0]),
            location=chart.location(flat[0]),
        )
