"""A unified diff as lines that a page can colour, and their number. It makes none: the patch comes with the race."""

from __future__ import annotations

import re
from dataclasses import dataclass

KINDS = {"+": "added", "-": "removed"}
PLACE = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line. `kind` is added, removed, place (of the change in the file), head (the file's name) or kept."""

    kind: str
    text: str


def lines(patch: str) -> list[DiffLine]:
    """The diff line by line."""
    found: list[DiffLine] = []
    before = after = 0  # lines that are left of this place, since a line of a file may itself begin like the head of a diff
    for text in patch.splitlines():
        place = PLACE.match(text)
        if before <= 0 and after <= 0 and place is not None:
            before, after = (int(count or 1) for count in place.groups())
            found.append(DiffLine("place", text))
        elif before <= 0 and after <= 0:
            found.append(DiffLine("head", text))
        else:
            kind = KINDS.get(text[:1], "kept")
            before -= kind != "added"
            after -= kind != "removed"
            found.append(DiffLine(kind, text))
    return found


def written(patch: str) -> int:
    """How many lines the diff writes: those that it adds or changes, or takes away where it only does that."""
    kinds = [line.kind for line in lines(patch)]
    return kinds.count("added") or kinds.count("removed")
