"""The rule loss-not-decreasing: the loss ends where it began, for whatever reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import LOSS_IS_FLAT
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import FLAT_LOSS
from unvanish.record.finding import Finding, Severity

STANDARD_ERRORS = 3.0  # of a fall that is more than noise
MIN_STEPS = 50


@final
class LossNotDecreasing(Rule):
    """The loss ends where it began, within its noise.

    Sees: the loss of every step.

    Why it matters: it is the plainest sign that nothing is learned, and says nothing of why; where another finding explains it,
    it is listed there.

    Known problems: the losses of opponents (GANs) and of policies (reinforcement learning) need not fall, so programs with
    several objectives, noisy losses and targets that move are left alone.

    Example: any training that stands still for a reason that no other rule sees.

    References: Zhang 2021, "AUTOTRAINER" (ICSE).
    """

    code: ClassVar[str] = "loss-not-decreasing"
    rank: ClassVar[int] = 90
    last_resort: ClassVar[bool] = True

    def examine(self, view: RunView) -> Iterator[Finding]:
        curve = view.loss_curve()
        if len(view.stacks) != 1 or curve is None or curve.steps < MIN_STEPS or not curve.finite:
            return
        is_noisy = STANDARD_ERRORS * curve.noise > FLAT_LOSS.value
        if is_noisy or not view.has_fixed_targets(view.stacks[0]) or curve.fall >= FLAT_LOSS.value or curve.start <= 0:
            return
        yield Finding(
            self.code,
            Severity.WARNING,
            LOSS_IS_FLAT.value,
            "The loss does not fall: nothing is being learned.",
            f"It was {wording.format_number(curve.start)} at the start and is {wording.format_number(curve.end)} after "
            f"{curve.steps} steps.",
            advice="Look at the data and the labels, at the loss, and at what reaches the optimizer.",
            evidence=(FLAT_LOSS.as_evidence("fall of the loss", curve.fall),),
            remedies=("adamw", "batchnorm", "standardise-input", "learning-rate"),
        )
