"""The pieces of text that are to change, in the places of the unedited files. It decides nothing.

A remedy is written as a whole or not at all: it works on a copy of the draft, which is kept where all of it could be said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import libcst as cst

from unvanish.patch.source.parsed_file import Source


class Unsayable(Exception):
    """A change cannot be written in place, for the reason that the message gives."""


@dataclass(frozen=True, slots=True)
class Splice:
    """The bytes of a file from `start` to `end`, and the text that takes their place."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A name that a file is to import: beside `alias` of one of its imports; where that is None, `name` is the whole line.

    `freed` is a use of that alias which is there no more.
    """

    name: str
    alias: cst.ImportAlias | None = None
    freed: cst.Name | None = None


@dataclass(slots=True)
class Draft:
    """What is to change so far.

    `aliases` are paths that modules get as earlier remedies put others beside them, with the paths that they were built under.
    """

    splices: dict[Path, tuple[Splice, ...]] = field(default_factory=dict[Path, tuple[Splice, ...]])
    wanted: dict[Path, tuple[Wanted, ...]] = field(default_factory=dict[Path, tuple[Wanted, ...]])
    aliases: dict[str, str] = field(default_factory=dict[str, str])

    def copy(self) -> Draft:
        """The same, to be added to."""
        return Draft(dict(self.splices), dict(self.wanted), dict(self.aliases))

    def want(self, path: Path, wanted: Wanted) -> None:
        """Has a file import a name."""
        self.wanted[path] = (*self.wanted.get(path, ()), wanted)

    def put(self, source: Source, start: int, end: int, text: str) -> None:
        """Has a piece of a file replaced; what stands there already is no change.

        Raises Unsayable where an earlier piece overlaps with it.
        """
        wanted, present = Splice(start, end, text), self.splices.get(source.path, ())
        if wanted in present or source.data[start:end].decode() == text:
            return
        for each in present:
            if (each.start < end and start < each.end) or (start == end == each.start == each.end):
                raise Unsayable(f"two changes meet in line {source.line_at(start)}")
        self.splices[source.path] = (*present, wanted)

    def text_of(self, source: Source) -> str:
        """A file with all that is to change."""
        return spliced(source.data, self.splices.get(source.path, ()))

    def lines_before(self, source: Source, line: int) -> int:
        """How many lines more than there were stand before a line of the unedited file."""
        at = source.offset(line)
        pieces = [each for each in self.splices.get(source.path, ()) if each.end <= at]
        return sum(_lines(each.text) - _lines(source.data[each.start : each.end].decode()) for each in pieces)


def spliced(data: bytes, splices: Sequence[Splice]) -> str:
    """The text with its pieces replaced; what is only put in comes before what begins in the same place."""
    parts: list[bytes] = []
    at = 0
    for each in sorted(splices, key=lambda s: (s.start, s.end)):
        parts += [data[at : each.start], each.text.encode()]
        at = each.end
    return b"".join([*parts, data[at:]]).decode()


def _lines(text: str) -> int:
    return len(text.encode().splitlines(keepends=True)) - (not text.endswith(("\n", "\r"))) if text else 0


def only(items: Iterable[str], reason: str) -> str:
    """The one value that all items have. Raises Unsayable, with the reason, where they differ or there are none."""
    found = set(items)
    if len(found) != 1:
        raise Unsayable(reason)
    return found.pop()
