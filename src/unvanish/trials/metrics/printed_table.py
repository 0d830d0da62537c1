"""Reads tables that scripts print: a header line of names, then rows of numbers under it. It knows nothing of other lines."""

from __future__ import annotations

import re
from dataclasses import dataclass

from unvanish.trials.metrics.metric_names import SPLIT, Meaning, may_speak_of_merit, meaning, words_of
from unvanish.trials.metrics.printed_line import BARS, COUNTERS, NUMBER, Figure, about_unseen

LONGEST_NAME = 30
MOST_COLUMNS = 24

_DIGIT_ALONE = re.compile(r"(?<![\w@^.\-])[-+]?\.?\d")
_COUNTER = re.compile(rf"(?:{COUNTERS}|#|no)")
_CELL = re.compile(rf"(?P<value>{NUMBER})\s?(?P<percent>%)?\s?[*✓✔+!]?")
_OTHER_CELL = re.compile(r"[\d:.]+\s?(?:s|ms|m|h|min)?|\d+/\d+|[-+–*✓✔]?|none")
_AVERAGE = re.compile(rf"\s*macro avg(?=[\s{BARS}])")


@dataclass(frozen=True, slots=True)
class Table:
    """What the columns of a table mean, None for those that are no figure, and whether the first one counts epochs or steps."""

    columns: tuple[Meaning | None, ...]
    counted: bool
    barred: bool


def table_under(line: str) -> Table | None:
    """The table whose header a line is, or None."""
    if ":" in line or "=" in line or not may_speak_of_merit(line.lower(), "") or _DIGIT_ALONE.search(line):
        return None
    cells, barred = _header_cells(line.lower())
    if not 2 <= len(cells) <= MOST_COLUMNS or any(len(cell) > LONGEST_NAME for cell in cells):
        return None
    counted = _COUNTER.fullmatch(cells[0]) is not None
    columns = tuple(meaning(cell) for cell in cells)
    if not any(columns) or not (counted or barred or "  " in line.strip() or "\t" in line):
        return None
    return Table(columns, counted, barred)


def figures_in_row(table: Table, line: str) -> list[Figure] | None:
    """The figures in a row of the table, or None where the line is no row of it."""
    text = _AVERAGE.sub("", line.lower())
    if table.barred:
        cells = [cell.strip() for cell in re.split(f"[{BARS}]", text.strip().strip(BARS))]
    else:
        cells = re.split(rf"[\s,{BARS}]+", text.strip().strip(BARS).strip())
    if len(cells) != len(table.columns) or not all(_CELL.fullmatch(cell) or _OTHER_CELL.fullmatch(cell) for cell in cells):
        return None
    if not any(cells) or (table.counted and not re.fullmatch(r"\d+(?:/\d+)?", cells[0])):
        return None
    found: list[Figure] = []
    for column, cell in zip(table.columns, cells, strict=True):
        match = _CELL.fullmatch(cell)
        if column is not None and match is not None:
            found.append(Figure(column, float(match["value"]) / (100.0 if match["percent"] else 1.0)))
    return about_unseen(found, counted=table.counted)


def _header_cells(line: str) -> tuple[list[str], bool]:
    """The names in a line that may be a header, and whether bars stand between them."""
    stripped = line.strip().strip(BARS).strip()
    if any(bar in stripped for bar in BARS):
        return [cell.strip() for cell in re.split(f"[{BARS}]", stripped)], True
    if "\t" in stripped or "  " in stripped or "," in stripped:
        return [cell for cell in re.split(r"\t+|\s*,\s*|\s{2,}", stripped) if cell], False
    cells: list[str] = []
    for word in stripped.split():
        if cells and re.fullmatch(SPLIT, words_of(cells[-1])):
            cells[-1] += f" {word}"
        else:
            cells.append(word)
    return cells, False
