"""Calls back when the script has imported a module, without importing it.

A finder at the head of `sys.meta_path` asks the other finders for the module, and wraps its loader by one that calls back once the
module is complete. Finder and wrapper are removed then; the module keeps its own loader and spec."""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


def when_imported(name: str, callback: Callable[[], None]) -> Callable[[], None]:
    """A function that cancels the wait for the module `name`; `callback` runs once, right after that module's import.

    Where the module is imported already, that is at once. A failed import does not count: the wait goes on. The callback runs
    inside the import statement, so what it raises would fail that import.

    Example:
        >>> imported = []
        >>> cancel = when_imported("sys", lambda: imported.append("sys"))
        >>> imported
        ['sys']
    """
    if name in sys.modules:
        callback()
        return lambda: None
    finder = _ImportWatcher(name, callback)
    sys.meta_path.insert(0, finder)
    return finder.remove


def find_spec_after(
    caller: importlib.abc.MetaPathFinder, name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    """The spec that the finders after `caller` in `sys.meta_path` give for a module, None where none of them finds it."""
    for finder in sys.meta_path[sys.meta_path.index(caller) + 1 :]:
        spec = finder.find_spec(name, path, target)
        if spec is not None:
            return spec
    return None


class _ImportWatcher(importlib.abc.MetaPathFinder):
    """Finder at the head of `sys.meta_path` that waits for one module."""

    def __init__(self, name: str, callback: Callable[[], None]) -> None:
        self._name, self._callback = name, callback

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        spec = find_spec_after(self, fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _NotifyingLoader(spec.loader, self._on_imported)
        return spec

    def remove(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def _on_imported(self) -> None:
        if self in sys.meta_path:
            self.remove()
            self._callback()


class _NotifyingLoader(importlib.abc.Loader):
    """Loads a module by its own loader, and then calls `on_imported`."""

    def __init__(self, loader: importlib.abc.Loader, on_imported: Callable[[], None]) -> None:
        self._loader, self._on_imported = loader, on_imported

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._on_imported()
