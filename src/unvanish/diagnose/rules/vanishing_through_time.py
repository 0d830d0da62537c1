"""The rule vanishing-through-time: the gradient of a recurrence fades before it reaches the start of the sequence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import FORGETS, FORGETS_FOR_SURE, GATES_MAY_OPEN, Confidence
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import FADED_IN_TIME, SLOW
from unvanish.diagnose.through_time import is_learning, largest_recurrence, recurrence_label
from unvanish.record.finding import Cause, Evidence, Finding, Severity
from unvanish.record.gradient_flow import TimeProfile


@final
class VanishingThroughTime(Rule):
    """Less than a thousandth of the gradient at the last time step is left at the first, and the loss reads the end of the
    sequence.

    Sees: the gradient that enters the recurrence at its last step, followed back step by step.

    Why it matters: what happened before the horizon leaves no trace in the weights.

    Known problems: gates learn to keep what matters, so a GRU that starts like this may learn all the same: with gates it is
    only a remark until the loss is seen to stand still while the weights move.

    Example: a vanilla tanh RNN that must remember a hundred steps.

    References: Bengio 1994; Hochreiter 1997; Pascanu 2013 (arXiv 1211.5063).
    """

    code: ClassVar[str] = "vanishing-through-time"
    rank: ClassVar[int] = 38
    explains: ClassVar[frozenset[str]] = frozenset({"loss-not-decreasing", "vanishing-gradient", "learning-rate-too-low"})

    def examine(self, view: RunView) -> Iterator[Finding]:
        profile = largest_recurrence(view, by=lambda candidate: -candidate.across)
        if profile is None or profile.horizon is None:
            return
        if not profile.across <= -FADED_IN_TIME.value or not profile.own <= -FADED_IN_TIME.value:
            return
        learning = is_learning(view)
        update_ratio = view.update_ratio(view.stacks[0]) if view.stacks else None
        if profile.gated and update_ratio is not None and update_ratio <= SLOW.value:
            learning = None  # gates that are not moved cannot open
        yield Finding(
            self.code,
            _severity(profile, learning=learning),
            _confidence(profile, learning=learning).value,
            _summary(profile, profile.horizon, gates_may_open=profile.gated and learning is None),
            f"In {recurrence_label(profile)} the gradient loses {-profile.decades_per_step:.2f} decades with every step back, "
            f"{wording.format_decades(profile.across)} over the whole sequence: {wording.format_remainder(profile.across)} of it "
            f"arrives at the first step. {_reason(profile)}",
            advice=_advice(profile),
            sites=(recurrence_label(profile),),
            cause=Cause("off-critical-init" if profile.gated else "recurrence-without-gate"),
            evidence=_evidence(profile, profile.horizon),
            remedies=("forget-bias", "gru") if profile.gated else ("gru", "lstm", "identity-rnn-init", "orthogonal-init"),
            began=int(view.run.sampled[0]),
            location=profile.location,
        )


def _summary(profile: TimeProfile, horizon: float, *, gates_may_open: bool) -> str:
    if gates_may_open:
        return f"At the start the gradient reaches {horizon:.0f} of {profile.steps} time steps back; gates may change that."
    return f"What happened more than {horizon:.0f} of {profile.steps} time steps ago cannot be learned."


def _evidence(profile: TimeProfile, horizon: float) -> tuple[Evidence, ...]:
    limit, source, name = -FADED_IN_TIME.value, FADED_IN_TIME.source, profile.name
    return (
        Evidence("gain through time", profile.across, "log10", limit, source, name),
        Evidence("gain per step", profile.decades_per_step, "log10", limit / profile.steps, source, name),
        Evidence("horizon", horizon, "steps", float(profile.steps), "the length of the sequence", name),
    )


def _confidence(profile: TimeProfile, *, learning: bool | None) -> Confidence:
    if learning is False and -profile.across >= (FADED_IN_TIME.sure or 0.0):
        return FORGETS_FOR_SURE
    return FORGETS if learning is False or not profile.gated else GATES_MAY_OPEN


def _severity(profile: TimeProfile, *, learning: bool | None) -> Severity:
    """A loss that falls shows that it does no harm; gates may still open; a plain recurrence has none to open."""
    if learning:
        return Severity.INFO
    if learning is None:
        return Severity.INFO if profile.gated else Severity.WARNING
    return Severity.CRITICAL


def _reason(profile: TimeProfile) -> str:
    if profile.gated:
        return "Its gates start half closed: every step passes on a part of the state only."
    return "Without gates each step multiplies it by the same matrix and the slope of the activation."


def _advice(profile: TimeProfile) -> str:
    if profile.gated:
        return "Start with open forget gates: a forget bias of 1, or of about the logarithm of the sequence's length."
    return "Replace the recurrence by a GRU or an LSTM."
