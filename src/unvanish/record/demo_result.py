"""What a demo showed, as plain data: the outcome in one sentence, a table, pictures, every training behind it. It draws nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Standing(StrEnum):
    """Whether the figures bear out what the demo is for."""

    SHOWN = "shown"
    NOT_SHOWN = "not shown"
    INTERRUPTED = "interrupted"


class Ending(StrEnum):
    """How one training ended. Training on after a loss that is no number would show nothing more."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Point:
    """Where a training stood at a step: the loss of that step's batch, and the score on the test data."""

    step: int
    loss: float
    score: float


@dataclass(frozen=True, slots=True)
class Profile:
    """The size of the gradient along a network or a sequence before training, as log10; `at` counts layers or time steps."""

    name: str
    at: tuple[float, ...]
    log10: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Course:
    """What one training came to. `said` is the error of one that failed; `measures` are figures taken beside the training.

    `steps` of `planned` were made, in `seconds` of wall time.
    """

    ending: Ending
    planned: int = 0
    points: tuple[Point, ...] = ()
    seconds: float = 0.0
    measures: tuple[tuple[str, float], ...] = ()
    profile: Profile | None = None
    said: str = ""

    @property
    def steps(self) -> int:
        """Steps made, as far as they were recorded."""
        return self.points[-1].step if self.points else 0

    @property
    def score(self) -> float | None:
        """The last score on the test data, or None where there is none that is worth a number."""
        return self.points[-1].score if self.points and self.ending in (Ending.FINISHED, Ending.STOPPED) else None

    def measure(self, name: str) -> float | None:
        """The figure of that name, or None where it was not taken."""
        return dict(self.measures).get(name)


@dataclass(frozen=True, slots=True)
class Trained:
    """A course and which training it was of."""

    label: str
    seed: int
    course: Course


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table: what a person reads, and the mean and spread behind it where it is a number."""

    text: str
    value: float | None = None
    spread: float | None = None


@dataclass(frozen=True, slots=True)
class Sheet:
    """The table of a demo. A heading may have several lines; rows are as long as the head."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart. A y that is NaN leaves a gap, minus infinity is an exact zero on a logarithmic scale."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over one axis. `share` says that y is a share of one, to be seen whole; `level` is a value to compare with."""

    name: str
    title: str
    caption: str
    x: str
    y: str
    lines: tuple[Line, ...]
    share: bool = False
    level: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Marks:
    """One mark a row: a value and its spread, None where there is none."""

    name: str
    values: tuple[float | None, ...]
    spreads: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One scale of a board. `decades` are drawn as bars from 0; anything else as dots on a scale from 0 to 1."""

    axis: str
    marks: tuple[Marks, ...]
    decades: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """Rows with the same labels on one or two scales side by side."""

    name: str
    title: str
    caption: str
    rows: tuple[str, ...]
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """What a demo makes of its trainings: the sentence for a layman, what stands behind it, the remedy's line, and the figures.

    `claim` is what the demo is for, so that a reader sees what was not borne out; `borne_out` says whether it was.
    """

    claim: str
    borne_out: bool
    title: str
    plain: str
    call: str
    data: str
    sheet: Sheet
    boards: tuple[Board, ...] = ()
    charts: tuple[Chart, ...] = ()


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A demo that was run: its story, every training behind it, and where, when and by which command it ran."""

    name: str
    command: str
    standing: Standing
    quick: bool
    story: Story
    trainings: tuple[Trained, ...]
    facts: tuple[tuple[str, str], ...]
    seconds: float
