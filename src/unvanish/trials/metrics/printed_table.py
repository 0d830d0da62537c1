"""Reads tables that scripts print: a header line of metric names, and rows of numbers under it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from unvanish.trials.metrics.metric_names import SPLIT, ParsedMetric, may_contain_metric, normalise_words, parse_metric
from unvanish.trials.metrics.printed_line import BARS, COUNTERS, NUMBER, MetricValue, select_held_out

MAX_NAME = 30  # characters
MAX_COLUMNS = 24

_DIGIT_ALONE = re.compile(r"(?<![\w@^.\-])[-+]?\.?\d")
_COUNTER = re.compile(rf"(?:{COUNTERS}|#|no)")
_CELL = re.compile(rf"(?P<value>{NUMBER})\s?(?P<percent>%)?\s?[*✓✔+!]?")
_OTHER_CELL = re.compile(r"[\d:.]+\s?(?:s|ms|m|h|min)?|\d+/\d+|[-+–*✓✔]?|none")
_AVERAGE = re.compile(rf"\s*macro avg(?=[\s{BARS}])")


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the metrics of its columns, None for other columns; whether the first one counts epochs or steps; whether bars
    separate them."""

    columns: tuple[ParsedMetric | None, ...]
    has_counter: bool
    has_bars: bool


def parse_header(line: str) -> Table | None:
    """The table whose header a line is, None where it is no header.

    Example:
        >>> [column and column.name for column in parse_header("epoch   train_loss   val_acc").columns]
        [None, 'train_loss', 'val_accuracy']
    """
    if ":" in line or "=" in line or not may_contain_metric(line.lower(), "") or _DIGIT_ALONE.search(line):
        return None
    cells, has_bars = _header_cells(line.lower())
    if not 2 <= len(cells) <= MAX_COLUMNS or any(len(cell) > MAX_NAME for cell in cells):
        return None
    has_counter = _COUNTER.fullmatch(cells[0]) is not None
    columns = tuple(parse_metric(cell) for cell in cells)
    if not any(columns) or not (has_counter or has_bars or "  " in line.strip() or "\t" in line):
        return None
    return Table(columns, has_counter, has_bars)


def parse_row(table: Table, line: str) -> list[MetricValue] | None:
    """The metrics on held-out data in a row of the table, None where the line is no row of it.

    Example:
        >>> table = parse_header("epoch   train_loss   val_acc")
        >>> [(metric.name, value) for metric, value in parse_row(table, "1       0.5          70%")]
        [('val_accuracy', 0.7)]
    """
    text = _AVERAGE.sub("", line.lower())
    if table.has_bars:
        cells = [cell.strip() for cell in re.split(f"[{BARS}]", text.strip().strip(BARS))]
    else:
        cells = re.split(rf"[\s,{BARS}]+", text.strip().strip(BARS).strip())
    if len(cells) != len(table.columns) or not all(_CELL.fullmatch(cell) or _OTHER_CELL.fullmatch(cell) for cell in cells):
        return None
    if not any(cells) or (table.has_counter and not re.fullmatch(r"\d+(?:/\d+)?", cells[0])):
        return None
    values: list[MetricValue] = []
    for column, cell in zip(table.columns, cells, strict=True):
        match = _CELL.fullmatch(cell)
        if column is not None and match is not None:
            values.append(MetricValue(column, float(match["value"]) / (100.0 if match["percent"] else 1.0)))
    return select_held_out(values, is_progress=table.has_counter)


def _header_cells(line: str) -> tuple[list[str], bool]:
    """The names in a line that may be a header, and whether bars separate them."""
    stripped = line.strip().strip(BARS).strip()
    if any(bar in stripped for bar in BARS):
        return [cell.strip() for cell in re.split(f"[{BARS}]", stripped)], True
    if "\t" in stripped or "  " in stripped or "," in stripped:
        return [cell for cell in re.split(r"\t+|\s*,\s*|\s{2,}", stripped) if cell], False
    cells: list[str] = []
    for word in stripped.split():
        if cells and re.fullmatch(SPLIT, normalise_words(cells[-1])):
            cells[-1] += f" {word}"
        else:
            cells.append(word)
    return cells, False
