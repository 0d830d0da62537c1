"""loss-not-decreasing: nothing is being learned, for whatever reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import FLAT_LOSS
from unvanish.record.finding import Finding, Severity

NOISES = 3.0
MANY_STEPS = 50


@final
class LossNotDecreasing(Rule):
    """The loss ends where it began, within its noise.

    Sees: the loss of every step.

    Why it matters: it is the plainest sign that nothing is learned, and says nothing of why; where another finding explains it,
    it is listed there.

    Known problems: the losses of opponents (GANs) and of policies (reinforcement learning) need not fall, so programs with
    several objectives and noisy losses are left alone.

    Example: any training that stands still for a reason that no other rule sees.

    References: Zhang 2021, "AUTOTRAINER" (ICSE).
    """

    code: ClassVar[str] = "loss-not-decreasing"
    rank: ClassVar[int] = 90
    last_resort: ClassVar[bool] = True

    def examine(self, chart: RunView) -> Iterator[Finding]:
        course = chart.course()
        if len(chart.chains) != 1 or course is None or course.steps < MANY_STEPS or not course.finite:
            return
        noisy = NOISES * course.noise > FLAT_LOSS.value
        if noisy or course.fall >= FLAT_LOSS.value or course.start <= 0:
            return
        yield Finding(
            self.code,
            Severity.WARNING,
            0.6,
            "The loss does not fall: nothing is being learned.",
            f"It was {wording.quantity(course.start)} at the start and is {wording.quantity(course.end)} after {course.steps} "
            "steps.",
            advice="Look at the data and the labels, at the loss, and at what reaches the optimizer.",
            evidence=(FLAT_LOSS.shown("fall of the loss", course.fall),),
            remedies=("adamw", "batchnorm", "standardise-input", "learning-rate"),
        )
