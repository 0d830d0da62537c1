"""A demo in the terminal: its outcome, its table, what to do, and where the page is. It prints nothing itself."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unvanish.record.demo_result import Cell, Demonstration, Sheet
from unvanish.report.terminal.run_report import STYLES, WIDEST
from unvanish.report.views.demo_state import LOOKS, notes
from unvanish.report.wording import numbers

AMISS = ("NaN", "error", "cut short", "not run")


def render(shown: Demonstration, *, page: Path | str | None = None) -> RenderableType:
    """The whole of it for a terminal of 80 columns or more."""
    story = shown.story
    parts: list[RenderableType] = [_headline(shown)]
    parts += [Padding(Text(note, style="yellow"), (0, 0, 0, 2)) for note in notes(shown)]
    if story.sheet.rows:
        parts += ["", Padding(_table(story.sheet), (0, 0, 0, 2))]
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", width=6, no_wrap=True)
    grid.add_column(max_width=WIDEST - 10)
    if story.plain:
        grid.add_row("Why", Text(story.plain))
    if story.sheet.note:
        grid.add_row("Table", Text(story.sheet.note, style="dim"))
    if story.call:
        grid.add_row("Remedy", Text(story.call, style="cyan"))
    parts += ["", Padding(grid, (0, 0, 0, 2))]
    if page is not None:
        parts += ["", Text.assemble(("page  ", "dim"), str(page))]
    return Group(*parts)


def _headline(shown: Demonstration) -> Table:
    look = LOOKS[shown.standing]
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True, justify="right")
    state = Text(f"{look.mark} {shown.standing.value.upper()}", style=STYLES[look])
    grid.add_row(state, Text(shown.story.title, style="bold"), Text(numbers.duration(shown.seconds), style="dim"))
    return grid


def _table(sheet: Sheet) -> Table:
    """The table, its numbers to the right. A line sets off the rows whose first cell begins something new, where it repeats."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", show_edge=False)
    for index, column in enumerate(sheet.columns):
        table.add_column(Text(column), justify="right" if index else "left", vertical="bottom", no_wrap=index > 0)
    groups = [row[0].text for row in sheet.rows]
    grouped = len(set(groups)) < len(groups)
    for index, row in enumerate(sheet.rows):
        again = grouped and index > 0 and groups[index - 1] == groups[index]
        last = grouped and index + 1 < len(groups) and groups[index + 1] != groups[index]
        table.add_row(*(_said(cell) if place or not again else Text("") for place, cell in enumerate(row)), end_section=last)
    return table


def _said(cell: Cell) -> Text:
    return Text(cell.text, style="yellow" if cell.text.startswith(AMISS) else "")
