"""Reads the figures of merit that a script prints, from its output as text. It runs nothing and guesses no meaning beyond names.

Only figures of quality on data not trained on are read, in the manners in which people print them: in words ("val_acc: 97.2%",
"Test set: loss 0.35, accuracy 9913/10000 (99%)"), on progress bars, as dictionaries and JSON, and in tables with a header.
"""

from __future__ import annotations

import re

from unvanish.trials.merits import Split, higher_is_better, is_merit, may_speak_of_merit, preference, split_of
from unvanish.trials.printed_line import LONGEST, Figure, figures_of
from unvanish.trials.printed_table import Table, figures_in_row, table_under

__all__ = ["Reader", "higher_is_better", "is_merit", "preference", "printed_metrics", "printed_series"]

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# "Test Error:" heads the indented lines under it; "--- Test ---", and words under a rule, head all lines until an empty one.
_HEADING = re.compile(
    r"\s*(?P<rule>[-=#*~>\s]{3,120})?(?P<words>[a-z][a-z _]{1,40}?)\s*(?P<colon>:)?\s*[-=#*~<]{0,120}\s*", re.IGNORECASE
)
_RULE = re.compile(r"\s*[-=#*~_─═]{3,400}\s*")


class Reader:
    """Reads output piece by piece, whole lines at a time: a table's header or a heading may be pieces before its figures."""

    def __init__(self) -> None:
        self._table: Table | None = None
        self._heading: Split = ""
        self._loose = self._ruled = self._used = False

    def series(self, text: str) -> dict[str, list[float]]:
        """All values of each figure in `text`, in their order, by its normalised name, such as "val_accuracy"."""
        found: dict[str, list[float]] = {}
        for line in _COLOURS.sub("", text).splitlines():
            for figure in self._figures(line[:LONGEST]):
                found.setdefault(figure.meaning.name, []).append(figure.value)
        return found

    def metrics(self, text: str) -> dict[str, float]:
        """The last value of each figure in `text`."""
        return {name: values[-1] for name, values in self.series(text).items()}

    def _figures(self, line: str) -> list[Figure]:
        if self._table is not None and line.strip() and (row := figures_in_row(self._table, line)) is not None:
            return row
        if self._heads(line) or not may_speak_of_merit(line.lower(), self._heading):
            return []
        if (table := table_under(line)) is not None:
            self._table = table
            return []
        figures = figures_of(line, self._heading)
        self._used |= bool(figures)
        return figures

    def _heads(self, line: str) -> bool:
        """Whether a line is a heading or a rule. What heads the lines that follow is kept, as long as it holds."""
        ruled, self._ruled = self._ruled, _RULE.fullmatch(line) is not None
        if self._ruled:
            return True
        if not line.strip():
            if self._loose and self._used:
                self._heading = ""
            return True
        heading = _HEADING.fullmatch(line)
        if heading is not None and (heading["rule"] or heading["colon"] or ruled):
            self._heading = split_of(heading["words"]) or ""
            self._loose, self._used = bool(ruled or heading["rule"]), False
            return True
        if not self._loose and not line[0].isspace():
            self._heading = ""
        return False


def printed_series(text: str) -> dict[str, list[float]]:
    """All values of each figure of merit in `text`, in their order, by its normalised name, such as "val_accuracy".

    Percentages and counts ("9913/10000") become fractions.
    """
    return Reader().series(text)


def printed_metrics(text: str) -> dict[str, float]:
    """The last value of each figure of merit in `text`, by its normalised name, such as "val_accuracy".

    Percentages and counts ("9913/10000") become fractions.
    """
    return Reader().metrics(text)
