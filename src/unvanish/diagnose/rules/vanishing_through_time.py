"""vanishing-through-time: a recurrence forgets its gradient long before it reaches the start of the sequence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import FADED_IN_TIME, SLOW
from unvanish.diagnose.through_time import learned, place, worst
from unvanish.record.finding import Cause, Evidence, Finding, Severity
from unvanish.record.flow import TimeProfile


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

    def examine(self, chart: RunView) -> Iterator[Finding]:
        time = worst(chart, by=lambda each: -each.across)
        if time is None or not time.across <= -FADED_IN_TIME.value or not time.own <= -FADED_IN_TIME.value or time.horizon is None:
            return
        fell = learned(chart)
        pace = chart.pace(chart.chains[0]) if chart.chains else None
        if time.gated and pace is not None and pace <= SLOW.value:
            fell = None  # gates that are not moved cannot open
        yield Finding(
            self.code,
            _severity(time, fell=fell),
            0.95
            if fell is False and -time.across >= (FADED_IN_TIME.sure or 0.0)
            else 0.85
            if fell is False or not time.gated
            else 0.6,
            f"What happened more than {time.horizon:.0f} of {time.steps} time steps ago cannot be learned."
            if fell is not None or not time.gated
            else f"At the start the gradient reaches {time.horizon:.0f} of {time.steps} time steps back; gates may change that.",
            f"In {place(time)} the gradient loses {-time.decades_per_step:.2f} decades with every step back, "
            f"{wording.decades(time.across)} over the whole sequence: {wording.part_of(time.across)} of it arrives at the first "
            "step. "
            f"{_reason(time)}",
            advice=_advice(time),
            sites=(place(time),),
            cause=Cause("off-critical-init" if time.gated else "recurrence-without-gate"),
            evidence=(
                Evidence("gain through time", time.across, "log10", -FADED_IN_TIME.value, FADED_IN_TIME.source, time.name),
                Evidence(
                    "gain per step",
                    time.decades_per_step,
                    "log10",
                    -FADED_IN_TIME.value / time.steps,
                    FADED_IN_TIME.source,
                    time.name,
                ),
                Evidence("horizon", time.horizon, "steps", float(time.steps), "the length of the sequence", time.name),
            ),
            remedies=("forget-bias", "gru") if time.gated else ("gru", "lstm", "identity-rnn-init", "orthogonal-init"),
            began=int(chart.run.sampled[0]),
            location=time.location,
        )


def _severity(time: TimeProfile, *, fell: bool | None) -> Severity:
    """A loss that falls shows that it does no harm; gates may still open; a plain recurrence has none to open."""
    if fell:
        return Severity.INFO
    if fell is None:
        return Severity.INFO if time.gated else Severity.WARNING
    return Severity.CRITICAL


def _reason(time: TimeProfile) -> str:
    if time.gated:
        return "Its gates start half closed: every step passes on a part of the state only."
    return "Without gates each step multiplies it by the same matrix and the slope of the activation."


def _advice(time: TimeProfile) -> str:
    if time.gated:
        return "Start with open forget gates: a forget bias of 1, or of about the logarithm of the sequence's length."
    return "Replace the recurrence by a GRU or an LSTM."
