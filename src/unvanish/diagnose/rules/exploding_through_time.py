"""exploding-through-time: a recurrence multiplies its gradient with every step back, until it is beyond all measure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import FADED_IN_TIME
from unvanish.diagnose.through_time import place, worst
from unvanish.record.finding import Cause, Evidence, Finding, Severity


@final
class ExplodingThroughTime(Rule):
    """The gradient at the first time step is a thousand times that at the last, or more.

    Sees: the gradient that enters the recurrence at its last step, followed back step by step.

    Why it matters: one step of the optimizer undoes all that was learned, or ends in infinities.

    Known problems: a loss that starts beyond all measure falls by itself, so its fall is no sign of health.

    Example: a ReLU recurrence whose matrix has a spectral radius of 2, over 56 steps.

    References: Pascanu 2013 (arXiv 1211.5063).
    """

    code: ClassVar[str] = "exploding-through-time"
    rank: ClassVar[int] = 28
    explains: ClassVar[frozenset[str]] = frozenset(
        {"loss-not-decreasing", "exploding-gradient", "non-finite", "learning-rate-too-high", "saturated-activation"}
    )

    def examine(self, chart: RunView) -> Iterator[Finding]:
        time = worst(chart, by=lambda each: each.across)
        if time is None or not time.across >= FADED_IN_TIME.value:
            return
        yield Finding(
            self.code,
            Severity.CRITICAL,
            FADED_IN_TIME.confidence(time.across, most=0.95),
            f"The gradient grows with every time step back, to {wording.multiple_of(time.across)} over the sequence.",
            f"In {place(time)} it gains {time.decades_per_step:.2f} decades with every step back, {wording.decades(time.across)} "
            f"over {time.steps} steps: the recurrent weights stretch what passes them.",
            advice="Start the recurrent weights at an orthogonal matrix or the identity, and clip the gradient's norm.",
            sites=(place(time),),
            cause=Cause("off-critical-init"),
            evidence=(
                FADED_IN_TIME.shown("gain through time", time.across, time.name),
                Evidence(
                    "gain per step",
                    time.decades_per_step,
                    "log10",
                    FADED_IN_TIME.value / time.steps,
                    FADED_IN_TIME.source,
                    time.name,
                ),
            ),
            remedies=("identity-rnn-init", "orthogonal-init", "gru", "lstm", "clip-norm"),
            began=int(chart.run.sampled[0]),
            location=time.location,
        )
