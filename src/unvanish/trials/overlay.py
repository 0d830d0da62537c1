"""Source text in memory laid over the user's files, for what the interpreter imports, runs and quotes. No file and no
bytecode is written, and files without an edit load as ever."""

from __future__ import annotations

import importlib.abc
import io
import linecache
import os
import sys
import tokenize
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType

from unvanish.trials.imports import find_behind


@contextmanager
def laid_over(edits: Mapping[Path, str]) -> Generator[None]:
    """A context in which the files of `edits` read as the texts given for them, for import, `inspect` and tracebacks alike."""
    if not edits:
        yield
        return
    finder = EditFinder({os.path.realpath(path): text for path, text in edits.items()})
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for path in finder.quoted:
            linecache.cache.pop(path, None)


def main_loader(path: str) -> importlib.abc.SourceLoader:
    """The loader of the file that runs as `__main__`: of its edit where it has one, of the file itself else."""
    for finder in sys.meta_path:
        if isinstance(finder, EditFinder):
            loader = finder.loader("__main__", path)
            if loader is not None:
                return loader
    return SourceFileLoader("__main__", path)


class EditFinder(importlib.abc.MetaPathFinder):
    """Gives edited modules their edited source. `edits` maps real paths to texts; `quoted` lists the files it served."""

    def __init__(self, edits: Mapping[str, str]) -> None:
        self._edits = edits
        self.quoted: list[str] = []

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's own spec with the edit's loader in it, or None where its file has no edit."""
        spec = find_behind(self, fullname, path, target)
        if spec is None or not spec.has_location or spec.origin is None:
            return None
        loader = self.loader(fullname, spec.origin)
        if loader is None:
            return None
        spec.loader, spec.cached = loader, None
        return spec

    def loader(self, name: str, path: str) -> EditLoader | None:
        """The loader of an edited file, or None where `path` has no edit."""
        text = self._edits.get(os.path.realpath(path))
        if text is None:
            return None
        # An entry without a time is never checked against the disk, so tracebacks, warnings and inspect quote what really runs.
        linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
        self.quoted.append(path)
        return EditLoader(name, path, text)


class EditLoader(importlib.abc.SourceLoader):
    """Loads one module from a text. Without file times the import system neither reads nor writes bytecode for it."""

    def __init__(self, name: str, path: str, text: str) -> None:
        self.name, self.path, self._text = name, path, text

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002
        """The file that the text stands for."""
        return self.path

    def get_data(self, path: str | bytes) -> bytes:
        """The bytes of a file; for the module's own, those of the text in the encoding that it declares."""
        if os.fspath(path) != self.path:
            return Path(os.fsdecode(path)).read_bytes()
        encoding, _ = tokenize.detect_encoding(io.BytesIO(self._text.encode()).readline)
        return self._text.encode(encoding)
