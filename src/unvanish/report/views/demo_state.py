"""The state of a demo in words: its mark, its class on the page, and what a reader must know besides. It draws nothing."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from unvanish.record.demo_result import Demonstration, Ending, Standing, Trained
from unvanish.report.views.verdict_card import State
from unvanish.report.wording import numbers

FAULTS = 3  # errors that are told; the page has all
# The page and the terminal have four states; a demo borrows the looks of three of them.
LOOKS: Mapping[Standing, State] = MappingProxyType(
    {Standing.SHOWN: State.HEALTHY, Standing.NOT_SHOWN: State.UNWELL, Standing.INTERRUPTED: State.UNKNOWN}
)


def notes(shown: Demonstration) -> list[str]:
    """What a reader must know besides the outcome: that it was a quick run, what was not borne out, what was not run."""
    said: list[str] = []
    if shown.quick:
        said.append("A quick run, with less of everything than the full demo.")
    if shown.standing is Standing.NOT_SHOWN:
        said.append(f"The claim was that {shown.story.claim}; these figures do not bear it out.")
        faults = dict.fromkeys(f"{each.label} failed: {each.course.said}" for each in shown.trainings if each.course.said)
        said += list(faults)[:FAULTS]
    if shown.standing is Standing.INTERRUPTED:
        begun = numbers.plural(len(shown.trainings), "training")
        said.append(f"Interrupted: the figures are those of {begun}, the last of them cut short.")
    return said


def ended(trained: Trained) -> str:
    """How one training ended, in words."""
    course = trained.course
    if course.ending is Ending.FAILED:
        return course.said or "failed"
    if course.ending is Ending.FINISHED:
        return numbers.plural(course.steps, "step")
    what = "the loss is NaN from" if course.ending is Ending.DIVERGED else "cut short at"
    return f"{what} step {course.steps:,} of {course.planned:,}"


def score(trained: Trained) -> str:
    """The score of one training on the test data."""
    found = trained.course.score
    if found is None:
        return "NaN" if trained.course.ending is Ending.DIVERGED else "none"
    return numbers.figure(found, 3)
