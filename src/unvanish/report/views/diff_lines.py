"""Parses a unified diff into lines with their kind, for colouring, and counts the lines that it writes."""

from __future__ import annotations

import re
from dataclasses import dataclass

KIND_BY_PREFIX = {"+": "added", "-": "removed"}
HUNK_HEADER = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line. `kind` is "added", "removed", "place" (a hunk header), "head" (a file header) or "kept"."""

    kind: str
    text: str


def parse_diff(patch: str) -> list[DiffLine]:
    """The lines of the diff with their kinds.

    Example:
        >>> [line.kind for line in parse_diff("--- a/f\\n+++ b/f\\n@@ -1 +1 @@\\n-x\\n+y")]
        ['head', 'head', 'place', 'removed', 'added']
    """
    lines: list[DiffLine] = []
    # Lines that the current hunk still has, since a line of a file may itself begin like a header of the diff.
    old_lines = new_lines = 0
    for text in patch.splitlines():
        hunk = HUNK_HEADER.match(text)
        if old_lines <= 0 and new_lines <= 0 and hunk is not None:
            old_lines, new_lines = (int(count or 1) for count in hunk.groups())
            lines.append(DiffLine("place", text))
        elif old_lines <= 0 and new_lines <= 0:
            lines.append(DiffLine("head", text))
        else:
            kind = KIND_BY_PREFIX.get(text[:1], "kept")
            old_lines -= kind != "added"
            new_lines -= kind != "removed"
            lines.append(DiffLine(kind, text))
    return lines


def count_written_lines(patch: str) -> int:
    """The number of lines that the diff adds or changes; that of removed lines where it only removes."""
    kinds = [line.kind for line in parse_diff(patch)]
    return kinds.count("added") or kinds.count("removed")
