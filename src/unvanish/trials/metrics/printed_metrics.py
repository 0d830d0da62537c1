"""Reads the metrics of quality that a script prints, from its output as text.

Only metrics on data not trained on are read, in the forms in which people print them: in words ("val_acc: 97.2%",
"Test set: loss 0.35, accuracy 9913/10000 (99%)"), on progress bars, as dictionaries and JSON, and in tables with a header."""

from __future__ import annotations

import re

from unvanish.trials.metrics.metric_names import (
    Split,
    held_out_split,
    may_contain_metric,
    parse_split,
)
from unvanish.trials.metrics.printed_line import MAX_LINE, MetricValue, is_progress_line, parse_line
from unvanish.trials.metrics.printed_table import Table, parse_header, parse_row

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_RULE = re.compile(r"\s*[-=#*~_─═]{3,400}\s*")
_HEADING_STARTS, _HEADING_ENDS = "-=#*~>", "-=#*~<:"
_WORD = r"[a-z][\w&()\-]*"
_HEADING = re.compile(
    rf"\s*(?P<rule>[-=#*~>]{{2,80}}\s*)?(?P<words>(?:{_WORD}\s+){{0,7}}{_WORD})\s*(?P<colon>:)?[-=#*~<\s]*", re.IGNORECASE
)


class OutputReader:
    """Reads output piece by piece, whole lines at a time; a table's header or a heading holds for later pieces.

    Example:
        >>> reader = OutputReader()
        >>> reader.metrics("epoch   train_loss   val_acc")
        {}
        >>> reader.metrics("1       0.5          0.7")
        {'val_accuracy': 0.7}
    """

    def __init__(self) -> None:
        self._table: Table | None = None
        self._heading: Split = ""
        self._is_decorated = False  # the heading was: "--- Test ---", or words under a rule
        self._is_used = False  # a line under it was read
        self._follows_rule = False  # the line before was a rule

    def series(self, text: str) -> dict[str, list[float]]:
        """All values of each metric in `text`, in their order, by its normalised name, such as "val_accuracy"."""
        series: dict[str, list[float]] = {}
        for line in _COLOURS.sub("", text).splitlines():
            for metric, value in self._read_line(line[:MAX_LINE]):
                series.setdefault(metric.name, []).append(value)
        return series

    def metrics(self, text: str) -> dict[str, float]:
        """The last value of each metric in `text`."""
        return {name: values[-1] for name, values in self.series(text).items()}

    def _read_line(self, line: str) -> list[MetricValue]:
        if self._table is not None and line.strip() and (row := parse_row(self._table, line)) is not None:
            return row
        if (table := parse_header(line)) is not None:
            self._table = table
            return []
        if self._read_heading(line):
            return []
        self._check_heading(line)
        return parse_line(line, self._heading) if may_contain_metric(line.lower(), self._heading) else []

    def _read_heading(self, line: str) -> bool:
        """Whether a line is empty, a rule, or a heading; a heading is kept."""
        follows_rule, self._follows_rule = self._follows_rule, _RULE.fullmatch(line) is not None
        text = line.strip()
        if not text and self._is_decorated and self._is_used:
            self._heading = ""
        if self._follows_rule or not text:
            return True
        heading = _HEADING.fullmatch(line) if follows_rule or text[-1] in _HEADING_ENDS or text[0] in _HEADING_STARTS else None
        if heading is None or not (heading["rule"] or heading["colon"] or follows_rule):
            return False
        self._is_decorated, self._is_used = bool(follows_rule or heading["rule"]), False
        self._heading = parse_split(heading["words"]) or (held_out_split(heading["words"]) if self._is_decorated else "")
        return True

    def _check_heading(self, line: str) -> None:
        """Drops a heading that no longer holds at a line.

        A heading holds until a line counts epochs: a decorated one at most until an empty line, "Test:" for the lines that are
        indented, and for one that is not if it comes next.
        """
        has_passed = not self._is_decorated and self._is_used and not line[0].isspace()
        if self._heading and (has_passed or (is_progress_line(line) and not line[0].isspace())):
            self._heading = ""
        self._is_used = True


def printed_series(text: str) -> dict[str, list[float]]:
    """All values of each metric on held-out data in `text`, in their order, by its normalised name, such as "val_accuracy".

    Percentages and counts ("9913/10000") become fractions.

    Example:
        >>> printed_series("epoch 1 | val acc 50%\\nepoch 2 | val acc 60%")
        {'val_accuracy': [0.5, 0.6]}
    """
    return OutputReader().series(text)


def printed_metrics(text: str) -> dict[str, float]:
    """The last value of each metric on held-out data in `text`, by its normalised name, such as "val_accuracy".

    Percentages and counts ("9913/10000") become fractions.

    Example:
        >>> printed_metrics("Test set: loss 0.35, accuracy 9913/10000 (99%)")
        {'test_loss': 0.35, 'test_accuracy': 0.9913}
    """
    return OutputReader().metrics(text)
