"""learning-rate-too-low: sound gradients, but steps so small that the network hardly moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import words
from unvanish.diagnose.chart import Chart, log_ratio
from unvanish.diagnose.rule import Rule
from unvanish.record.finding import Cause, Evidence, Finding, Severity

# Updates of 1e-3 of the weight a step are usual; healthy networks measured here move at 10^-3.1 or faster in the median of their
# layers, so a third of the usual pace is slow.
THRESHOLD = -3.5
SOURCE = "1e-3 of a weight a step is usual (Karpathy, CS231n); healthy networks measured here: 10^-3.1 and faster"
SLOW = 0.1  # a loss that fell by more than a tenth of its start is on its way
MANY_STEPS = 50


@final
class LearningRateTooLow(Rule):
    """Every layer gets a gradient, but updates are far smaller than usual and the loss hardly falls.

    Sees: the size of each update relative to its weight, in the median over the weight matrices, and the loss. Why it
    matters: the network would learn, in a hundred times the time. Known problems: a long warm-up looks the same while it
    lasts; fine-tuning moves little on purpose, but then its loss is low from the start. References: Karpathy, CS231n notes.
    """

    code: ClassVar[str] = "learning-rate-too-low"
    rank: ClassVar[int] = 60
    explains: ClassVar[frozenset[str]] = frozenset({"loss-not-decreasing"})

    def examine(self, chart: Chart) -> Iterator[Finding]:
        for chain in chart.chains:
            course = chart.course(chain.objective)
            owned = [
                i
                for i, p in enumerate(chart.anatomy.parameters)
                if len(p.shape) > 1 and p.group is not None and chart.anatomy.groups[p.group].optimizer == chain.objective
            ]
            ratio = log_ratio(chart.late("log10_update_rms"), chart.late("log10_weight_rms"))[owned]
            ratio = ratio[np.isfinite(ratio)]
            if course is None or not len(ratio) or course.steps < MANY_STEPS:
                continue
            pace = float(np.median(ratio))
            if pace > THRESHOLD or not course.fall < SLOW or not course.finite:
                continue
            rates = chart.late("learning_rate")
            rate = float(np.nanmax(rates)) if np.isfinite(rates).any() else np.nan
            yield Finding(
                self.code,
                Severity.CRITICAL,
                0.9 if pace < THRESHOLD - 0.5 else 0.75,
                "The learning rate is too low: the network hardly moves.",
                f"Half of the layers change by less than {10**pace:.1e} of their size a step (learning rate {rate:.1e}), and the "
                f"loss fell by {words.percent(max(0.0, course.fall))} in {course.steps} steps.",
                advice="Raise the learning rate by a factor of ten, until the loss falls at once.",
                sites=chart.labels(chain.layers),
                cause=Cause("learning-rate-too-low"),
                evidence=(
                    Evidence("relative update", pace, "log10", THRESHOLD, SOURCE),
                    Evidence("fall of the loss", course.fall, "fraction", SLOW, "a tenth of its start"),
                ),
                began=int(chart.run.sampled[0]),
            )
