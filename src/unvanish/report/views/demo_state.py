"""Describes the state of a demo and of its trainings in words, and maps it to the state that page and terminal show."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from unvanish.record.demo_result import DemoOutcome, DemoResult, TrainingEnding, TrainingRecord
from unvanish.report.views.verdict_card import State
from unvanish.report.wording import numbers

MAX_FAULTS = 3  # different errors that are named; the page has all
# Page and terminal have four states; a demo is shown in three of them.
DISPLAY_STATES: Mapping[DemoOutcome, State] = MappingProxyType(
    {DemoOutcome.SHOWN: State.HEALTHY, DemoOutcome.NOT_SHOWN: State.UNWELL, DemoOutcome.INTERRUPTED: State.UNKNOWN}
)


def list_notes(demo: DemoResult) -> list[str]:
    """Notes besides the outcome: that it was a quick run, that the claim was not confirmed and why, what was interrupted."""
    notes: list[str] = []
    if demo.is_quick:
        notes.append("A quick run, with less of everything than the full demo.")
    if demo.outcome is DemoOutcome.NOT_SHOWN:
        notes.append(f"The claim was that {demo.summary.claim}; these figures do not bear it out.")
        errors = dict.fromkeys(
            f"{training.label} failed: {training.result.error}" for training in demo.trainings if training.result.error
        )
        notes += list(errors)[:MAX_FAULTS]
    if demo.outcome is DemoOutcome.INTERRUPTED:
        trainings = numbers.pluralise(len(demo.trainings), "training")
        notes.append(f"Interrupted: the figures are those of {trainings}, the last of them cut short.")
    return notes


def format_ending(training: TrainingRecord) -> str:
    """How one training ended: its steps, an error, or the step at which it diverged or was cut short."""
    result = training.result
    if result.ending is TrainingEnding.FAILED:
        return result.error or "failed"
    if result.ending is TrainingEnding.FINISHED:
        return numbers.pluralise(result.steps, "step")
    event = "the loss is NaN from" if result.ending is TrainingEnding.DIVERGED else "cut short at"
    return f"{event} step {result.steps:,} of {result.planned_steps:,}"


def format_score(training: TrainingRecord) -> str:
    """The score of one training on the test data as text."""
    value = training.result.score
    if value is None:
        return "NaN" if training.result.ending is TrainingEnding.DIVERGED else "none"
    return numbers.format_number(value, 3)
