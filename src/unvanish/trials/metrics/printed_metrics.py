"""Reads the figures of merit that a script prints, from its output as text. It runs nothing and guesses no meaning beyond names.

Only figures of quality on data not trained on are read, in the manners in which people print them: in words ("val_acc: 97.2%",
"Test set: loss 0.35, accuracy 9913/10000 (99%)"), on progress bars, as dictionaries and JSON, and in tables with a header.
"""

from __future__ import annotations

import re

from unvanish.trials.metrics.metric_names import (
    Split,
    higher_is_better,
    is_merit,
    may_speak_of_merit,
    preference,
    split_of,
    unseen_in,
)
from unvanish.trials.metrics.printed_line import LONGEST, Figure, counts_progress, figures_of
from unvanish.trials.metrics.printed_table import Table, figures_in_row, table_under

__all__ = ["OutputReader", "higher_is_better", "is_merit", "preference", "printed_metrics", "printed_series"]

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_RULE = re.compile(r"\s*[-=#*~_─═]{3,400}\s*")
_BEGINS, _ENDS = "-=#*~>", "-=#*~<:"
_WORD = r"[a-z][\w&()\-]*"
_HEADING = re.compile(
    rf"\s*(?P<rule>[-=#*~>]{{2,80}}\s*)?(?P<words>(?:{_WORD}\s+){{0,7}}{_WORD})\s*(?P<colon>:)?[-=#*~<\s]*", re.IGNORECASE
)


class OutputReader:
    """Reads output piece by piece, whole lines at a time: a table's header or a heading may be pieces before its figures."""

    def __init__(self) -> None:
        self._table: Table | None = None
        self._heading: Split = ""
        self._decorated = False  # the heading was: "--- Test ---", or words under a rule
        self._used = False  # a line under it was read
        self._ruled = False  # the line before was a rule

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
        if (table := table_under(line)) is not None:
            self._table = table
            return []
        if self._heads(line):
            return []
        self._go_on_under_heading(line)
        return figures_of(line, self._heading) if may_speak_of_merit(line.lower(), self._heading) else []

    def _heads(self, line: str) -> bool:
        """Whether a line is empty, a rule, or a heading, which is kept."""
        ruled, self._ruled = self._ruled, _RULE.fullmatch(line) is not None
        bare = line.strip()
        if not bare and self._decorated and self._used:
            self._heading = ""
        if self._ruled or not bare:
            return True
        heading = _HEADING.fullmatch(line) if ruled or bare[-1] in _ENDS or bare[0] in _BEGINS else None
        if heading is None or not (heading["rule"] or heading["colon"] or ruled):
            return False
        self._decorated, self._used = bool(ruled or heading["rule"]), False
        self._heading = split_of(heading["words"]) or (unseen_in(heading["words"]) if self._decorated else "")
        return True

    def _go_on_under_heading(self, line: str) -> None:
        """A heading holds until a line counts epochs: a decorated one at most until an empty line, "Test:" for the lines that are
        indented, and for one that is not if it comes next."""
        passed = not self._decorated and self._used and not line[0].isspace()
        if self._heading and (passed or (counts_progress(line) and not line[0].isspace())):
            self._heading = ""
        self._used = True


def printed_series(text: str) -> dict[str, list[float]]:
    """All values of each figure of merit in `text`, in their order, by its normalised name, such as "val_accuracy".

    Percentages and counts ("9913/10000") become fractions.
    """
    return OutputReader().series(text)


def printed_metrics(text: str) -> dict[str, float]:
    """The last value of each figure of merit in `text`, by its normalised name, such as "val_accuracy".

    Percentages and counts ("9913/10000") become fractions.
    """
    return OutputReader().metrics(text)
