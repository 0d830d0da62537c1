"""Engines by entry point: the built-in ones, and those of other packages.

A package adds engines under `[project.entry-points."unvanish.engines"]`: each name stands for an EngineKind, or a function that
gives several. A plugin that is broken is left out with one line on standard error. Nothing here imports torch.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

from unvanish.errors import UsageError
from unvanish.plugins.entry_points import PluginGroup, PluginRegistry, warn_on_stderr
from unvanish.trials.engines.engine import EngineKind, EngineOptions

if TYPE_CHECKING:
    from unvanish.trials.engines.engine import Engine

BUILT_IN = EntryPoint("built-in", "unvanish.trials.engines:built_in", "unvanish.engines")


def open_engine(name: str, options: EngineOptions) -> Engine:
    """The engine of that name, ready to run trials. Raises UsageError where there is none, or it cannot be opened."""
    known = registry().plugins
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
        raise UsageError(f"--engine {name}: no engine has that name{hint}")
    return known[name].engage(options)


@cache
def registry() -> PluginRegistry[EngineKind]:
    """Every installed engine and its package, loaded at the first call; what cannot be used is warned of on standard error."""
    group = PluginGroup(BUILT_IN, EngineKind, noun="engine", key="name", example="local", flaw=_flaw)
    return PluginRegistry(group, group.entries(), warn=warn_on_stderr)


def _flaw(kind: EngineKind) -> str:
    if kind.summary and "\n" not in kind.summary and callable(kind.engage):
        return ""
    return f"the engine {kind.name} must have a summary of one line, and an engage function"
