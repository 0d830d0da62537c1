"""Overlays source text in memory on the user's files, for what the interpreter imports, runs and quotes in tracebacks.

No file of the user's and no bytecode is written, and files without an edit load as usual. Where a trial runs in a mirror, its
modules are loaded from there, but compiled under the user's own paths, which is what records and tracebacks show. The mirror gets
a copy of each, so that what a module writes beside its own file goes there."""

from __future__ import annotations

import importlib.abc
import importlib.readers
import io
import linecache
import os
import sys
import tokenize
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import SOURCE_SUFFIXES, ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import cast

from unvanish.import_hooks import find_spec_after
from unvanish.trials.isolation.mirror import Mirror, TooLarge


@contextmanager
def overlay_sources(edits: Mapping[Path, str], mirror: Mirror | None = None) -> Generator[None]:
    """A context in which import, `inspect` and tracebacks read the texts of `edits` in place of the files that they are given for.

    The keys of `edits` are the user's paths; the same files in the mirror are overlaid too.
    """
    if not edits and mirror is None:
        yield
        return
    finder = EditFinder({os.path.realpath(path): text for path, text in edits.items()}, mirror)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for path in finder.quoted:
            linecache.cache.pop(path, None)


def main_loader(path: str) -> importlib.abc.SourceLoader:
    """The loader of the file that runs as `__main__`: of its edit where it has one, otherwise of the file itself."""
    for finder in sys.meta_path:
        if isinstance(finder, EditFinder):
            loader = finder.loader("__main__", path)
            if loader is not None:
                return loader
    return SourceFileLoader("__main__", path)


class EditFinder(importlib.abc.MetaPathFinder):
    """Finder that gives edited modules their edited source, and modules of the mirror the user's paths.

    `edits` maps real paths to texts; `quoted` lists the files whose edited lines were put into linecache.
    """

    def __init__(self, edits: Mapping[str, str], mirror: Mirror | None) -> None:
        self._edits, self._mirror = edits, mirror
        self.quoted: list[str] = []

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's own spec with the edit's loader in it, or None where its file has no edit."""
        spec = find_spec_after(self, fullname, path, target)
        if spec is None or not spec.has_location or spec.origin is None:
            return None
        loader = self.loader(fullname, spec.origin)
        if loader is None:
            return None
        spec.loader, spec.cached = loader, None
        return spec

    def loader(self, name: str, path: str) -> EditLoader | None:
        """The loader of a file that is edited or in the mirror, None for any other."""
        shown_path = self._user_path(path)
        text = self._edits.get(os.path.realpath(shown_path))
        if text is None and (shown_path == path or not (name == "__main__" or path.endswith(tuple(SOURCE_SUFFIXES)))):
            return None
        if text is not None:
            # An entry without a time is never checked against the disk, so tracebacks, warnings and inspect quote what really runs.
            lines = text.splitlines(keepends=True)
            linecache.cache |= {quoted: (len(text), None, lines, quoted) for quoted in (path, shown_path)}
            self.quoted += (path, shown_path)
        return EditLoader(name, path, text, shown_path)

    def _user_path(self, path: str) -> str:
        """The user's path of a file; one that lies in the mirror becomes a copy there."""
        if self._mirror is None or not self._mirror.contains(Path(path)):
            return path
        with suppress(TooLarge), self._mirror.updating():
            self._mirror.own_file(Path(path), keep=True)
        return str(self._mirror.to_original(Path(path)))


class EditLoader(importlib.abc.SourceLoader):
    """Loads one module from a text, or from its file where the text is None, and compiles it under `shown_path`.

    Without file times the import system neither reads nor writes bytecode for it.
    """

    def __init__(self, name: str, path: str, text: str | None, shown_path: str) -> None:
        self.name, self.path, self._text, self._shown_path = name, path, text, shown_path

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002
        """The path under which the module is compiled."""
        return self._shown_path

    def get_data(self, path: str | bytes) -> bytes:
        """The bytes of a file; for the module's own, those of the text in the encoding that it declares."""
        if os.fspath(path) not in (self.path, self._shown_path):
            return Path(os.fsdecode(path)).read_bytes()
        if self._text is None:
            return Path(self.path).read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(self._text.encode()).readline)
        return self._text.encode(encoding)

    def get_resource_reader(self, fullname: str) -> importlib.readers.FileReader:  # noqa: ARG002
        """The reader of the files that lie beside the module."""
        return importlib.readers.FileReader(cast(importlib.abc.FileLoader, self))
