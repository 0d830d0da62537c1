"""The result of a demo as plain records: its outcome, a table, the data of its charts, and the result of every training."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DemoOutcome(StrEnum):
    """Whether the measured values confirm the claim of the demo."""

    SHOWN = "shown"
    NOT_SHOWN = "not shown"
    INTERRUPTED = "interrupted"


class TrainingEnding(StrEnum):
    """How one training ended. A training diverges when its loss is NaN or infinite, and is stopped by Ctrl-C."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """The loss of one step's batch, and the score on the test data after that step."""

    step: int
    loss: float
    score: float


@dataclass(frozen=True, slots=True)
class GradientProfile:
    """The size of the gradient along a network or a sequence before training, as log10; positions count layers or time steps."""

    name: str
    positions: tuple[float, ...]
    log10_gradients: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """The result of one training, in `seconds` of wall time. `error` is the exception of one that failed.

    `measures` are named numbers measured beside the training, such as the decades of gradient lost before it.
    """

    ending: TrainingEnding
    planned_steps: int = 0
    history: tuple[HistoryPoint, ...] = ()
    seconds: float = 0.0
    measures: tuple[tuple[str, float], ...] = ()
    gradient_profile: GradientProfile | None = None
    error: str = ""

    @property
    def steps(self) -> int:
        """Steps made, as far as they were recorded."""
        return self.history[-1].step if self.history else 0

    @property
    def score(self) -> float | None:
        """The last score on the test data, or None where the training diverged, failed or was never scored."""
        has_score = self.history and self.ending in (TrainingEnding.FINISHED, TrainingEnding.STOPPED)
        return self.history[-1].score if has_score else None

    def measure(self, name: str) -> float | None:
        """The measured number of that name, or None where it was not measured."""
        return dict(self.measures).get(name)


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """The result of one training, with the label and the seed that identify it."""

    label: str
    seed: int
    result: TrainingResult


@dataclass(frozen=True, slots=True)
class TableCell:
    """The text of one cell of a table, and the mean and standard deviation (`spread`) behind it where it is a number."""

    text: str
    value: float | None = None
    spread: float | None = None


@dataclass(frozen=True, slots=True)
class ResultTable:
    """The table of a demo. A column heading may have several lines; every row has one cell for each column."""

    columns: tuple[str, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class LineSeries:
    """One line of a line chart. A y that is NaN leaves a gap; minus infinity is an exact zero on a logarithmic scale."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LineChart:
    """Lines over one axis. `y_is_share` fixes the y axis to the range 0 to 1; `reference_level` is a named horizontal line."""

    name: str
    title: str
    caption: str
    x_label: str
    y_label: str
    lines: tuple[LineSeries, ...]
    y_is_share: bool = False
    reference_level: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class RowSeries:
    """One value for each row of a row chart and its standard deviation (`spreads`); None where there is none."""

    name: str
    values: tuple[float | None, ...]
    spreads: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class RowChartPanel:
    """One horizontal scale of a row chart. Decades are drawn as bars from 0, all else as dots on a scale from 0 to 1."""

    axis: str
    series: tuple[RowSeries, ...]
    in_decades: bool = False


@dataclass(frozen=True, slots=True)
class RowChart:
    """A chart with one labelled row for each network, on one or two scales side by side."""

    name: str
    title: str
    caption: str
    rows: tuple[str, ...]
    panels: tuple[RowChartPanel, ...]


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """What the trainings of a demo amount to: a title for laymen, its explanation, the call of the remedy, table and charts.

    `claim` is what the demo is to show, and `claim_holds` whether the measured values confirm it.
    """

    claim: str
    claim_holds: bool
    title: str
    explanation: str
    remedy_call: str
    data_description: str
    table: ResultTable
    row_charts: tuple[RowChart, ...] = ()
    line_charts: tuple[LineChart, ...] = ()


@dataclass(frozen=True, slots=True)
class DemoResult:
    """A demo that was run: its summary, every training behind it, and where, when and by which command it ran."""

    name: str
    command: str
    outcome: DemoOutcome
    is_quick: bool
    summary: DemoSummary
    trainings: tuple[TrainingRecord, ...]
    facts: tuple[tuple[str, str], ...]
    seconds: float
