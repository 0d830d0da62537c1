"""Renders the table of a race that is running, as high and wide as the terminal allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from unvanish.report.wording import numbers

BAR_CELLS, WIDE_BAR_CELLS = 8, 16
WIDE = 100  # cells of the terminal, from which the bars are longer
FRAME_LINES = 5  # besides the rows: title, header, two empty ones, footer
MIN_ROWS = 3
GAP = 2
MAX_NAME_WIDTH = 26
MIN_COLUMN_WIDTHS = (8, 8, 7, 6, 5)  # so that the columns do not move while numbers grow


@dataclass(frozen=True, slots=True)
class LiveRaceRow:
    """The progress of one candidate.

    Arguments:
        stop_step: the step that it runs to now; None where that is not known.
        training_steps: the length of the training; None where that is not known.
        loss: of the latest step; NaN where there is none yet.
        seeds: number of seeds that were run to their end.
        state: what it does, in a few words.
        is_running: whether a trial of it is running.
        is_out: whether it has left the race.
    """

    name: str
    step: int
    stop_step: int | None
    training_steps: int | None
    loss: float
    seeds: int
    state: str
    is_running: bool = False
    is_out: bool = False


@dataclass(frozen=True, slots=True)
class LiveRace:
    """A rich renderable for a running race: the part that runs now, the candidates in the order given, and a last line.

    The untouched script is the last of `rows`.
    """

    part: str
    rows: Sequence[LiveRaceRow]
    footer: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields the table, no higher than the terminal; of rows without room only the number is shown."""
        room = max(MIN_ROWS, (options.height or console.height) - FRAME_LINES)
        shown, hidden = list(self.rows), 0
        if len(shown) > room:
            hidden = len(shown) - (room - 1)
            # The script as it is comes last, and is always shown.
            shown = [*shown[: room - 2], shown[-1]]
        more = [Text(f"and {numbers.pluralise(hidden, 'other candidate')}", style="dim")] if hidden else []
        if not self.rows:
            yield Text(" · ".join(filter(None, (self.part or "starting", self.footer))), style="dim")
            return
        header = Text(self.part, style="bold", overflow="ellipsis", no_wrap=True)
        footer = Text(self.footer, style="dim", overflow="ellipsis", no_wrap=True)
        yield Group(header, "", _build_table(shown, options.max_width), *more, "", footer)


def _build_table(rows: Sequence[LiveRaceRow], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    bar_cells = WIDE_BAR_CELLS if width >= WIDE else BAR_CELLS
    cells = [_build_cells(row, bar_cells) for row in rows]
    headers = ("trial", "training", "step", "loss", "seeds")
    widths = [
        max([cell_len(header), min_width, *(cell_len(row_cells[column].plain) for row_cells in cells)])
        for column, (header, min_width) in enumerate(zip(headers, MIN_COLUMN_WIDTHS, strict=True))
    ]
    name_width = min(MAX_NAME_WIDTH, widths[0])
    table.add_column(headers[0], width=name_width, no_wrap=True, overflow="ellipsis")
    for column, header in enumerate(headers[1:], start=1):
        table.add_column(header, no_wrap=True, justify="left" if column == 1 else "right", width=widths[column])
    state_width = max(1, width - name_width - sum(widths[1:]) - GAP * len(headers))
    table.add_column("state", no_wrap=True, overflow="ellipsis", width=state_width)
    for row, row_cells in zip(rows, cells, strict=True):
        table.add_row(*row_cells, style="dim" if row.is_out else "")
    return table


def _build_cells(row: LiveRaceRow, bar_cells: int) -> list[Text]:
    share = min(1.0, row.step / row.training_steps) if row.training_steps else 0.0
    filled = round(bar_cells * share)
    step = f"{row.step:,}/{row.stop_step:,}" if row.stop_step else f"{row.step:,}"
    return [
        Text(row.name),
        Text.assemble(("█" * filled, "cyan" if row.is_running else ""), ("░" * (bar_cells - filled), "dim")),
        Text(step if row.step or row.stop_step else ""),
        Text(_format_loss(row) if row.step else ""),
        Text(str(row.seeds) if row.seeds else ""),
        Text(row.state, style="red" if row.state.startswith("failed") else ""),
    ]


def _format_loss(row: LiveRaceRow) -> str:
    if math.isnan(row.loss):
        return ""
    return numbers.format_number(row.loss) if math.isfinite(row.loss) else "diverged"
