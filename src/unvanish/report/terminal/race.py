"""A race as a table in the terminal. Where the width does not hold all columns, the least important go first."""

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

from unvanish.record.verdict import Cost, Outcome, RaceResult
from unvanish.report.views import diff_lines, race_table
from unvanish.report.views.race_table import LEGEND, MARKS, ON_FRONT, Row
from unvanish.report.wording import numbers

LOSS = "loss"
PATCH = "unvanish.patch"
ROOMY = 108  # from this width on (a terminal of 110, indented), memory and operations are shown where there is room
NAME = 26  # cells of the longest name; a longer one is folded
NO_BREAK = "\u00a0"
FOLDED_NAME = 18  # cells that it is folded to where a column would not fit otherwise
GAP = 2
RUNG_BAR = 6
FEWEST = 20  # cells of a comparison, even where none is that long
STYLES: Mapping[Outcome, str] = {
    Outcome.CURED: "bold green",
    Outcome.BETTER: "cyan",
    Outcome.SAME: "dim",
    Outcome.WORSE: "yellow",
    Outcome.FAILED: "red",
}


def render_race(race: RaceResult, patch_path: Path | str | None = None) -> RenderableType:
    """The race as a table, the control last; under it the outcome in a sentence, the patch, and what else a person should know."""
    said = [Text(" ".join([race.sentence, *_patch(race, patch_path)]))]
    if race.line is not None:
        side = "behind" if "optimizer" in race.line else "before"
        said.append(Text(f"Put this {side} the line that builds the optimizer:"))
        said += [Text(f"  {line}", style="bold") for line in race.line.splitlines()]
    table = [RaceTable(race), ""] if race.verdicts else []
    return Padding(Group(*table, *said, *(Text(note, style="yellow") for note in race.notes)), (0, 0, 0, 2))


def _patch(race: RaceResult, path: Path | str | None) -> list[str]:
    """Where the patch is, and how many lines it writes."""
    if not race.patch:
        return []
    return [f"Patch: {path or PATCH} ({numbers.plural(diff_lines.written(race.patch), 'line')})."]


@dataclass(frozen=True, slots=True)
class RaceTable:
    """What rich prints for a race."""

    race: RaceResult

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, in as many columns as the width allows; below it what did not find room in it."""
        rows = race_table.rows(self.race)
        columns = _fitting(_columns(self.race, rows, roomy=options.max_width >= ROOMY), options.max_width)
        below = [Text(f"{row.name}: {row.failure}", style="dim") for row in rows if row.failure and _cut(row, columns)]
        if any(row.front for row in rows):
            below.append(Text(LEGEND, style="dim"))
        yield Group(_table(rows, columns, options.max_width), *below)


@dataclass(frozen=True, slots=True)
class _Column:
    """One column. Those with the largest `spare` are left out first; 0 is never left out. `short` is a narrower form, which is
    taken before that where the width is wanting."""

    head: str
    cells: tuple[Text, ...]
    spare: int = 0
    short: tuple[Text, ...] = ()
    right: bool = False

    @property
    def width(self) -> int:
        return max(cell_len(str(cell)) for cell in (self.head, *self.cells))


def _columns(race: RaceResult, rows: Sequence[Row], *, roomy: bool) -> list[_Column]:
    deciding = next(iter(race_table.metrics(race)), LOSS)
    against = "against the script as it is" if roomy else "against as it is"
    found = [
        _Column("remedy", tuple(_name(row) for row in rows)),
        _Column("rung", tuple(_rung(row, RUNG_BAR) for row in rows), 8, tuple(_rung(row, 0) for row in rows)),
        _Column(LOSS, tuple(Text(row.said(LOSS)) for row in rows), 5),
        _Column(deciding, tuple(Text(row.said(deciding)) for row in rows)),
        _Column(against, _against(rows)),
        _cost("step", rows, lambda cost: cost.step_time, numbers.ratio, spare=1),
        _cost("params", rows, lambda cost: cost.parameters, numbers.signed_percent, spare=4),
    ]
    if deciding == LOSS:
        del found[2]
    if roomy:
        found += [
            _cost("FLOPs", rows, lambda cost: math.nan if cost.flops is None else cost.flops, numbers.ratio, spare=6),
            _cost("memory", rows, lambda cost: cost.memory, numbers.ratio, spare=7),
        ]
    found.append(_Column("seeds", tuple(Text(str(row.seeds) if row.seeds else "") for row in rows), 9, right=True))
    return [column for column in found if any(cell.plain for cell in column.cells)]


def _fitting(columns: list[_Column], width: int) -> list[_Column]:
    """The columns that fit beside each other: the least important shortened, and then left out, until they do."""
    shown = list(columns)
    while _needed(shown) > width and (spare := max(column.spare for column in shown)):
        at = next(place for place, column in enumerate(shown) if column.spare == spare)
        column = shown[at]
        if column.short:
            shown[at] = _Column(column.head, column.short, 2)
        else:
            del shown[at]
    return shown


def _needed(columns: Sequence[_Column]) -> int:
    return min(columns[0].width, FOLDED_NAME) + sum(GAP + column.width for column in columns[1:])


def _table(rows: Sequence[Row], columns: Sequence[_Column], width: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim")
    room = max(1, width - sum(GAP + column.width for column in columns[1:]))
    name = min(columns[0].width, NAME, room)
    table.add_column(columns[0].head, width=name)
    for column in columns[1:]:
        table.add_column(Text(column.head), no_wrap=True, justify="right" if column.right else "left", width=column.width)
    for row, (first, *cells) in zip(rows, zip(*(column.cells for column in columns), strict=True), strict=True):
        table.add_row(_folded(first, name), *cells, style="dim" if row.verdict is None or row.ending else "")
    return table


def _folded(name: Text, width: int) -> Text:
    """The name on lines of that width, broken between remedies, and inside one only where it is longer than that."""
    inside = any(cell_len(word) > width for word in name.plain.split())
    kept = name.plain.replace(f" {ON_FRONT}", f"{NO_BREAK}{ON_FRONT}")  # the mark never stands alone on a line
    lines = "\n".join(textwrap.wrap(kept, width, break_on_hyphens=inside))
    return Text(lines.replace(NO_BREAK, " "), style=name.style)


def _name(row: Row) -> Text:
    return Text(f"{row.name} {ON_FRONT}" if row.front else row.name, style="bold" if row.winner else "")


def _rung(row: Row, cells: int) -> Text:
    """How far it came: a bar of so many cells and the number of the rung."""
    verdict = row.verdict
    if verdict is None or verdict.rungs < 2:
        return Text("")
    done = round(cells * verdict.rung / verdict.rungs)
    return Text(f"{'█' * done:{cells}} {verdict.rung}/{verdict.rungs}" if cells else f"{verdict.rung}/{verdict.rungs}")


def _against(rows: Sequence[Row]) -> tuple[Text, ...]:
    """The comparisons. Why one failed is cut to the width of the others; below the table it stands in full."""
    said = [Text(row.ending) if row.ending else _proof(row) for row in rows]
    width = max([FEWEST, *(cell_len(cell.plain) for cell, row in zip(said, rows, strict=True) if not row.failure)])
    mark = MARKS[Outcome.FAILED]
    return tuple(
        Text(f"{mark} {_cut_to(row.failure, width - 2)}", style=STYLES[Outcome.FAILED]) if row.failure else cell
        for cell, row in zip(said, rows, strict=True)
    )


def _cut_to(text: str, width: int) -> str:
    return text if cell_len(text) <= width else f"{text[: width - 1]}…"


def _cut(row: Row, columns: Sequence[_Column]) -> bool:
    """Whether the reason of a failure is shown in part only."""
    return not any(row.failure in cell.plain for column in columns for cell in column.cells)


def _proof(row: Row) -> Text:
    if row.verdict is None:
        return Text("")
    outcome = row.verdict.outcome
    gain, interval = race_table.proof(row)
    if row.seeds < 2:
        return Text(f"{MARKS[outcome]} {interval} {gain}".rstrip(), style=STYLES[outcome])
    text = Text(f"{MARKS[outcome]} {outcome.value:<6} ", style=STYLES[outcome])
    return text.append(f"{gain} {interval}".strip(), style="default")


def _cost(head: str, rows: Sequence[Row], value: Callable[[Cost], float], say: Callable[[float], str], *, spare: int) -> _Column:
    """A ratio to the control, for those that were run to their end; nothing where it was not measured."""
    costs = [row.verdict.cost if row.verdict is not None and row.compared else None for row in rows]
    cells = [say(value(cost)) if cost is not None and math.isfinite(value(cost)) else "" for cost in costs]
    return _Column(head, tuple(map(Text, cells)), spare, right=True)
