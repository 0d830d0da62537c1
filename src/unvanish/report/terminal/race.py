"""Renders a race as a table for the terminal; where the width does not hold all columns, the least important are left out."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unvanish.record.races.verdict import Cost, Outcome, RaceResult
from unvanish.record.storage.file_names import PATCH_FILE
from unvanish.report.views import diff_lines, race_table
from unvanish.report.views.race_table import FRONT_MARK, LEGEND, OUTCOME_MARKS, RaceRow
from unvanish.report.wording import numbers

LOSS = "loss"
WIDE = 108  # from this width on (a terminal of 110, indented), memory and operations are shown where there is room
MAX_NAME_WIDTH = 26  # cells of the longest name; a longer one is folded
NO_BREAK = "\u00a0"
FOLDED_NAME_WIDTH = 18  # cells that it is folded to where a column would not fit otherwise
GAP = 2
RUNG_BAR_CELLS = 6
MIN_COMPARISON_WIDTH = 20  # cells of a comparison, even where none is that long
STYLES: Mapping[Outcome, str] = {
    Outcome.CURED: "bold green",
    Outcome.BETTER: "cyan",
    Outcome.SAME: "dim",
    Outcome.WORSE: "yellow",
    Outcome.FAILED: "red",
}


def render_race(race: RaceResult, patch_path: Path | str | None = None) -> RenderableType:
    """The race as a table, the control last; below it the outcome as a sentence, the patch and the notes.

    Arguments:
        patch_path: where the patch is, as shown to the user; by default its file name.
    """
    below = [Text(" ".join([race.sentence, *_format_patch(race, patch_path)]))]
    if race.line is not None:
        below.append(Text(f"Put this {race.line_place} the line that builds the optimizer:"))
        below += [Text(f"  {line}", style="bold") for line in race.line.splitlines()]
    table = [RaceTable(race), ""] if race.verdicts else []
    return Padding(Group(*table, *below, *(Text(note, style="yellow") for note in race.notes)), (0, 0, 0, 2))


def _format_patch(race: RaceResult, path: Path | str | None) -> list[str]:
    """The path of the patch and its number of lines as a list of one sentence; empty where there is no patch."""
    if not race.patch:
        return []
    return [f"Patch: {path or PATCH_FILE} ({numbers.pluralise(diff_lines.count_written_lines(race.patch), 'line')})."]


@dataclass(frozen=True, slots=True)
class RaceTable:
    """A rich renderable for the table of a race."""

    race: RaceResult

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yields the table with as many columns as the width allows; below it what had no room in it."""
        rows = race_table.build_rows(self.race)
        columns = _fit_to_width(_build_columns(self.race, rows, is_wide=options.max_width >= WIDE), options.max_width)
        below = [Text(f"{row.name}: {row.failure}", style="dim") for row in rows if row.failure and _is_shortened(row, columns)]
        if any(row.is_on_front for row in rows):
            below.append(Text(LEGEND, style="dim"))
        yield Group(_build_table(rows, columns, options.max_width), *below)


@dataclass(frozen=True, slots=True)
class _Column:
    """One column of the table.

    Arguments:
        drop_rank: where the width is too small, columns with the largest rank are left out first; 0 is never left out.
        short_cells: a narrower form, which is tried before the column is left out.
    """

    header: str
    cells: tuple[Text, ...]
    drop_rank: int = 0
    short_cells: tuple[Text, ...] = ()
    is_right_aligned: bool = False

    @property
    def width(self) -> int:
        return max(cell_len(str(cell)) for cell in (self.header, *self.cells))


def _build_columns(race: RaceResult, rows: Sequence[RaceRow], *, is_wide: bool) -> list[_Column]:
    deciding = next(iter(race_table.list_metrics(race)), LOSS)
    comparison_header = "against the script as it is" if is_wide else "against as it is"
    columns = [
        _Column("remedy", tuple(_format_name(row) for row in rows)),
        _Column("rung", tuple(_format_rung(row, RUNG_BAR_CELLS) for row in rows), 8, tuple(_format_rung(row, 0) for row in rows)),
        _Column(LOSS, tuple(Text(row.format_metric(LOSS)) for row in rows), 5),
        _Column(deciding, tuple(Text(row.format_metric(deciding)) for row in rows)),
        _Column(comparison_header, _format_comparisons(rows)),
        _cost_column("step", rows, lambda cost: cost.step_time, numbers.format_ratio, drop_rank=1),
        _cost_column("params", rows, lambda cost: cost.parameters, numbers.format_percent_change, drop_rank=4),
    ]
    if deciding == LOSS:
        del columns[2]
    if is_wide:
        columns += [
            _cost_column("FLOPs", rows, lambda cost: cost.flops, numbers.format_ratio, drop_rank=6),
            _cost_column("memory", rows, lambda cost: cost.memory, numbers.format_ratio, drop_rank=7),
        ]
    columns.append(_Column("seeds", tuple(Text(str(row.seeds) if row.seeds else "") for row in rows), 9, is_right_aligned=True))
    return [column for column in columns if any(cell.plain for cell in column.cells)]


def _fit_to_width(columns: list[_Column], width: int) -> list[_Column]:
    """The columns that fit beside each other: the least important shortened, and then left out, until they do."""
    shown = list(columns)
    while _total_width(shown) > width and (rank := max(column.drop_rank for column in shown)):
        index = next(i for i, column in enumerate(shown) if column.drop_rank == rank)
        column = shown[index]
        if column.short_cells:
            shown[index] = _Column(column.header, column.short_cells, 2)
        else:
            del shown[index]
    return shown


def _total_width(columns: Sequence[_Column]) -> int:
    return min(columns[0].width, FOLDED_NAME_WIDTH) + sum(GAP + column.width for column in columns[1:])


def _build_table(rows: Sequence[RaceRow], columns: Sequence[_Column], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    room = max(1, width - sum(GAP + column.width for column in columns[1:]))
    name_width = min(columns[0].width, MAX_NAME_WIDTH, room)
    table.add_column(columns[0].header, width=name_width)
    for column in columns[1:]:
        table.add_column(
            Text(column.header), no_wrap=True, justify="right" if column.is_right_aligned else "left", width=column.width
        )
    for row, (name, *cells) in zip(rows, zip(*(column.cells for column in columns), strict=True), strict=True):
        table.add_row(_fold_name(name, name_width), *cells, style="dim" if row.verdict is None or row.ending else "")
    return table


def _fold_name(name: Text, width: int) -> Text:
    """The name on lines of that width, broken between remedies, and inside one only where it is longer than that."""
    has_long_word = any(cell_len(word) > width for word in name.plain.split())
    text = name.plain.replace(f" {FRONT_MARK}", f"{NO_BREAK}{FRONT_MARK}")  # so that the mark is never alone on a line
    lines = "\n".join(textwrap.wrap(text, width, break_on_hyphens=has_long_word))
    return Text(lines.replace(NO_BREAK, " "), style=name.style)


def _format_name(row: RaceRow) -> Text:
    return Text(f"{row.name} {FRONT_MARK}" if row.is_on_front else row.name, style="bold" if row.is_winner else "")


def _format_rung(row: RaceRow, cells: int) -> Text:
    """The rung that a candidate reached: a bar of so many cells, and the number of the rung and of all."""
    verdict = row.verdict
    if verdict is None or verdict.rungs < 2:
        return Text("")
    filled = round(cells * verdict.rung / verdict.rungs)
    return Text(f"{'█' * filled:{cells}} {verdict.rung}/{verdict.rungs}" if cells else f"{verdict.rung}/{verdict.rungs}")


def _format_comparisons(rows: Sequence[RaceRow]) -> tuple[Text, ...]:
    """The cells of the comparison column; the reason of a failure is cut to the width of the others."""
    texts = [Text(row.ending) if row.ending else _format_comparison(row) for row in rows]
    width = max([MIN_COMPARISON_WIDTH, *(cell_len(cell.plain) for cell, row in zip(texts, rows, strict=True) if not row.failure)])
    mark = OUTCOME_MARKS[Outcome.FAILED]
    return tuple(
        Text(f"{mark} {_shorten(row.failure, width - 2)}", style=STYLES[Outcome.FAILED]) if row.failure else cell
        for cell, row in zip(texts, rows, strict=True)
    )


def _shorten(text: str, width: int) -> str:
    return text if cell_len(text) <= width else f"{text[: width - 1]}…"


def _is_shortened(row: RaceRow, columns: Sequence[_Column]) -> bool:
    """Whether the reason of a failure is shown in part only."""
    return not any(row.failure in cell.plain for column in columns for cell in column.cells)


def _format_comparison(row: RaceRow) -> Text:
    if row.verdict is None:
        return Text("")
    outcome = row.verdict.outcome
    gain, interval = race_table.format_effect(row)
    if row.seeds < 2:
        return Text(f"{OUTCOME_MARKS[outcome]} {interval} {gain}".rstrip(), style=STYLES[outcome])
    text = Text(f"{OUTCOME_MARKS[outcome]} {outcome.value:<6} ", style=STYLES[outcome])
    return text.append(f"{gain} {interval}".strip(), style="default")


def _cost_column(
    header: str,
    rows: Sequence[RaceRow],
    get_ratio: Callable[[Cost], float],
    format_ratio: Callable[[float], str],
    *,
    drop_rank: int,
) -> _Column:
    """A ratio to the control, for candidates that ran to their end; "" where it was not measured."""
    costs = [row.verdict.cost if row.verdict is not None and row.is_compared else None for row in rows]
    cells = [format_ratio(get_ratio(cost)) if cost is not None and math.isfinite(get_ratio(cost)) else "" for cost in costs]
    return _Column(header, tuple(map(Text, cells)), drop_rank, is_right_aligned=True)
