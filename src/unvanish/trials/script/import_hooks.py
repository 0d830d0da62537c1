"""Tells when the script has imported a module. It imports nothing itself: whether and when is the script's own choice.

A finder put in front of the others asks them for the module, and has a loader stand in that calls back once the module is
complete. Both withdraw then; the module keeps its own loader and spec.
"""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


def when_imported(name: str, callback: Callable[[], None]) -> Callable[[], None]:
    """A function that cancels the wait for the top-level module `name`: right after its import, `callback` runs once.

    Where the module is imported already, that is at once. A failed import does not count: the wait goes on. The callback runs
    inside the import statement, so what it raises would fail that import.
    """
    if name in sys.modules:
        callback()
        return lambda: None
    finder = _Sentry(name, callback)
    sys.meta_path.insert(0, finder)
    return finder.withdraw


def find_behind(
    asker: importlib.abc.MetaPathFinder, name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    """The spec that the finders behind `asker` in `sys.meta_path` give for a module, or None where none of them knows it."""
    for finder in sys.meta_path[sys.meta_path.index(asker) + 1 :]:
        spec = finder.find_spec(name, path, target)
        if spec is not None:
            return spec
    return None


class _Sentry(importlib.abc.MetaPathFinder):
    """Waits at the head of `sys.meta_path` for one module."""

    def __init__(self, name: str, callback: Callable[[], None]) -> None:
        self._name, self._callback = name, callback

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        spec = find_behind(self, fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Relay(spec.loader, self._arrived)
        return spec

    def withdraw(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def _arrived(self) -> None:
        if self in sys.meta_path:
            self.withdraw()
            self._callback()


class _Relay(importlib.abc.Loader):
    """Stands in for a module's loader until the module is complete."""

    def __init__(self, loader: importlib.abc.Loader, arrived: Callable[[], None]) -> None:
        self._loader, self._arrived = loader, arrived

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._arrived()
