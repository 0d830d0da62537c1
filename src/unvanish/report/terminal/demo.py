"""Renders a demo for the terminal: outcome, notes, table, explanation, remedy, and the path of its page."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unvanish.record.demo_result import DemoResult, ResultTable, TableCell
from unvanish.report.terminal.run_report import MAX_WIDTH, STYLES
from unvanish.report.views.demo_state import DISPLAY_STATES, list_notes
from unvanish.report.wording import numbers

PROBLEM_PREFIXES = ("NaN", "error", "cut short", "not run")


def render(demo: DemoResult, *, page: Path | str | None = None) -> RenderableType:
    """The demo for a terminal of 80 columns or more; `page` is the path of its HTML page, None where there is none."""
    summary = demo.summary
    parts: list[RenderableType] = [_render_headline(demo)]
    parts += [Padding(Text(note, style="yellow"), (0, 0, 0, 2)) for note in list_notes(demo)]
    if summary.table.rows:
        parts += ["", Padding(_build_table(summary.table), (0, 0, 0, 2))]
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", width=6, no_wrap=True)
    grid.add_column(max_width=MAX_WIDTH - 10)
    if summary.explanation:
        grid.add_row("Why", Text(summary.explanation))
    if summary.table.note:
        grid.add_row("Table", Text(summary.table.note, style="dim"))
    if summary.remedy_call:
        grid.add_row("Remedy", Text(summary.remedy_call, style="cyan"))
    parts += ["", Padding(grid, (0, 0, 0, 2))]
    if page is not None:
        parts += ["", Text.assemble(("page  ", "dim"), str(page))]
    return Group(*parts)


def _render_headline(demo: DemoResult) -> Table:
    display_state = DISPLAY_STATES[demo.outcome]
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True, justify="right")
    state = Text(f"{display_state.mark} {demo.outcome.value.upper()}", style=STYLES[display_state])
    grid.add_row(state, Text(demo.summary.title, style="bold"), Text(numbers.format_duration(demo.seconds), style="dim"))
    return grid


def _build_table(result_table: ResultTable) -> Table:
    """The table, its numbers aligned to the right; where first cells repeat, a line separates their groups."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", show_edge=False)
    for index, column in enumerate(result_table.columns):
        table.add_column(Text(column), justify="right" if index else "left", vertical="bottom", no_wrap=index > 0)
    groups = [row[0].text for row in result_table.rows]
    has_groups = len(set(groups)) < len(groups)
    for index, row in enumerate(result_table.rows):
        repeats = has_groups and index > 0 and groups[index - 1] == groups[index]
        ends_group = has_groups and index + 1 < len(groups) and groups[index + 1] != groups[index]
        cells = (_format_cell(cell) if column or not repeats else Text("") for column, cell in enumerate(row))
        table.add_row(*cells, end_section=ends_group)
    return table


def _format_cell(cell: TableCell) -> Text:
    return Text(cell.text, style="yellow" if cell.text.startswith(PROBLEM_PREFIXES) else "")
