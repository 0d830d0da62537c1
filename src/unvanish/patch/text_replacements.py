"""Collects the pieces of text that a patch replaces, as byte ranges of the unedited files, and applies them.

A remedy is written completely or not at all: it works on a copy of the draft, which is kept only where all of its edits could be
expressed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import libcst as cst

from unvanish.patch.source.parsed_file import SourceFile
from unvanish.project_files import ProjectFiles


class NotExpressible(Exception):
    """A change cannot be written in place, for the reason that the message gives."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """The bytes of a file from `start` to `end`, and the text that takes their place."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """A name that a file is to import: beside `alias` of one of its imports; where that is None, `name` is a complete import line.

    `replaced_use` is a use of the alias that the draft replaces.
    """

    name: str
    alias: cst.ImportAlias | None = None
    replaced_use: cst.Name | None = None


@dataclass(slots=True)
class Draft:
    """The changes so far.

    `aliases` maps paths that modules get once earlier remedies have inserted others beside them to the paths under which they were
    built, `definitions` the classes and functions that each file is to define. Only files of `project` are changed.
    """

    project: ProjectFiles = field(default_factory=ProjectFiles)
    replacements: dict[Path, tuple[Replacement, ...]] = field(default_factory=dict[Path, tuple[Replacement, ...]])
    imports: dict[Path, tuple[ImportRequest, ...]] = field(default_factory=dict[Path, tuple[ImportRequest, ...]])
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    definitions: dict[Path, tuple[str, ...]] = field(default_factory=dict[Path, tuple[str, ...]])

    def copy(self) -> Draft:
        """An independent draft with the same changes."""
        definitions = dict(self.definitions)
        return Draft(self.project, dict(self.replacements), dict(self.imports), dict(self.aliases), definitions)

    def adopt(self, other: Draft) -> None:
        """Takes all changes of another draft, which began as a copy of this one."""
        self.replacements, self.imports = other.replacements, other.imports
        self.aliases, self.definitions = other.aliases, other.definitions

    def request_import(self, path: Path, request: ImportRequest) -> None:
        """Adds a name that a file is to import. Raises NotExpressible where the file is not the project's."""
        self._require_own(path)
        self.imports[path] = (*self.imports.get(path, ()), request)

    def replace(self, source: SourceFile, start: int, end: int, text: str) -> None:
        """Replaces a byte range of a file; text that is there already is no change.

        Raises NotExpressible where an earlier replacement overlaps with it, or the file is not the project's.
        """
        self._require_own(source.path)
        new, present = Replacement(start, end, text), self.replacements.get(source.path, ())
        if new in present or source.data[start:end].decode() == text:
            return
        for earlier in present:
            if (earlier.start < end and start < earlier.end) or (start == end == earlier.start == earlier.end):
                raise NotExpressible(f"two changes meet in line {source.line_at(start)}")
        self.replacements[source.path] = (*present, new)

    def _require_own(self, path: Path) -> None:
        if not self.project.includes(str(path)):
            raise NotExpressible(f"{path} is not a file of your project")

    def insert(self, source: SourceFile, offset: int, text: str) -> None:
        """Inserts lines at an offset, behind those that were inserted there before."""
        present = self.replacements.get(source.path, ())
        earlier = [each for each in present if each.start == each.end == offset]
        before = "".join(each.text for each in earlier)
        self.replacements[source.path] = tuple(each for each in present if each not in earlier)
        self.replace(source, offset, offset, before + text)

    def edited_text(self, source: SourceFile) -> str:
        """The text of a file with all changes."""
        return apply_replacements(source.data, self.replacements.get(source.path, ()))

    def added_lines_before(self, source: SourceFile, line: int) -> int:
        """How many lines the changes add (negative: remove) before a line of the unedited file."""
        offset = source.offset(line)
        earlier = [each for each in self.replacements.get(source.path, ()) if each.end <= offset]
        return sum(_count_lines(each.text) - _count_lines(source.data[each.start : each.end].decode()) for each in earlier)


def apply_replacements(data: bytes, replacements: Sequence[Replacement]) -> str:
    """The text with its ranges replaced; insertions come before what begins at the same offset."""
    parts: list[bytes] = []
    offset = 0
    for replacement in sorted(replacements, key=lambda each: (each.start, each.end)):
        parts += [data[offset : replacement.start], replacement.text.encode()]
        offset = replacement.end
    return b"".join([*parts, data[offset:]]).decode()


def _count_lines(text: str) -> int:
    return len(text.encode().splitlines(keepends=True)) - (not text.endswith(("\n", "\r"))) if text else 0


def only_value(items: Iterable[str], reason: str) -> str:
    """The one value that all items have. Raises NotExpressible, with the reason, where they differ or there are none."""
    values = set(items)
    if len(values) != 1:
        raise NotExpressible(reason)
    return values.pop()
