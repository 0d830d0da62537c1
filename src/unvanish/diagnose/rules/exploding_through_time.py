"""The rule exploding-through-time: the gradient of a recurrence grows with every time step back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import SHARED_SYMPTOM
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import FADED_IN_TIME
from unvanish.diagnose.through_time import largest_recurrence, recurrence_label
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

    def examine(self, view: RunView) -> Iterator[Finding]:
        profile = largest_recurrence(view, by=lambda candidate: candidate.across)
        if profile is None or not profile.across >= FADED_IN_TIME.value:
            return
        yield Finding(
            self.code,
            Severity.CRITICAL,
            FADED_IN_TIME.confidence(profile.across, SHARED_SYMPTOM),
            f"The gradient grows with every time step back, to {wording.format_multiple(profile.across)} over the sequence.",
            f"In {recurrence_label(profile)} it gains {profile.decades_per_step:.2f} decades with every step back, "
            f"{wording.format_decades(profile.across)} over {profile.steps} steps: the recurrent weights stretch what passes them.",
            advice="Start the recurrent weights at an orthogonal matrix or the identity, and clip the gradient's norm.",
            sites=(recurrence_label(profile),),
            cause=Cause("off-critical-init"),
            evidence=(
                FADED_IN_TIME.as_evidence("gain through time", profile.across, profile.name),
                Evidence(
                    "gain per step",
                    profile.decades_per_step,
                    "log10",
                    FADED_IN_TIME.value / profile.steps,
                    FADED_IN_TIME.source,
                    profile.name,
                ),
            ),
            remedies=("identity-rnn-init", "orthogonal-init", "gru", "lstm", "clip-norm"),
            began=int(view.run.sampled[0]),
            location=profile.location,
        )
