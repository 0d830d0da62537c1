"""learning-rate-too-low: sound gradients, but steps so small that the network hardly moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import LATE_ROWS, LayerStack, LossCurve, RunView, typical
from unvanish.diagnose.thresholds import HALF_LEARNED, ON_ITS_WAY, SAME_WAY, SLOW
from unvanish.record.finding import Cause, Evidence, Finding, Severity

MANY_STEPS = 30


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

    def examine(self, chart: RunView) -> Iterator[Finding]:
        for chain in chart.chains:
            course, pace = chart.course(chain.objective), chart.pace(chain)
            if course is None or pace is None or course.steps < MANY_STEPS:
                continue
            if (
                pace > SLOW.value
                or not course.finite
                or not (course.fall < ON_ITS_WAY.value or _on_a_long_way(chart, chain, course))
            ):
                continue
            rates = chart.late("learning_rate")
            rate = float(np.nanmax(rates)) if np.isfinite(rates).any() else np.nan
            yield Finding(
                self.code,
                Severity.CRITICAL,
                SLOW.confidence(pace, least=0.8, most=0.95),
                "The learning rate is too low: the network hardly moves.",
                f"Half of the layers change by less than {wording.ten_to(pace):.1e} of their size a step "
                f"(learning rate {rate:.1e}), and the "
                f"loss fell by {wording.percent(max(0.0, course.fall))} in {course.steps} steps.",
                advice="Raise the learning rate by a factor of ten, until the loss falls at once.",
                sites=chart.labels(chain.layers),
                cause=Cause("learning-rate-too-low"),
                evidence=(
                    SLOW.shown("relative update", pace),
                    Evidence("fall of the loss", course.fall, "fraction", ON_ITS_WAY.value, "a tenth of its start"),
                ),
                remedies=("learning-rate", "adamw"),
                began=chart.sampled_step(chart.paces(chain) <= SLOW.value),
            )


def _on_a_long_way(chart: RunView, chain: LayerStack, course: LossCurve) -> bool:
    """Whether gradients still point the same way at the end, with most of the task ahead: larger steps would do."""
    agreement = typical(chart.values("gradient_agreement")[-LATE_ROWS:, chart.matrices(chain)])
    return agreement >= SAME_WAY.value and course.late_fall > 0 and not chart.learned(chain, HALF_LEARNED.value)
