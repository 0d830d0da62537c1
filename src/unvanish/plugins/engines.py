"""Engines by entry point: those of other packages, and the built-in ones, which enter by the same door.

A package adds engines under `[project.entry-points."unvanish.engines"]`: each name stands for an EngineKind, or a function that
gives several. A plugin that is broken is left out with one line on standard error. Nothing here imports torch.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

from unvanish.errors import UsageError
from unvanish.plugins.entry_points import PluginGroup, PluginRegistry, say
from unvanish.trials.engines.engine import EngineKind, EngineOptions

if TYPE_CHECKING:
    from unvanish.trials.engines.engine import Engine

BUILT_IN = EntryPoint("built-in", "unvanish.trials.engines:built_in", "unvanish.engines")


def open_engine(name: str, terms: EngineOptions) -> Engine:
    """The engine of that name, ready to run trials. Raises UsageError where there is none, or it cannot be had."""
    known = admission().things
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
        raise UsageError(f"--engine {name}: no engine has that name{hint}")
    return known[name].engage(terms)


@cache
def admission() -> PluginRegistry[EngineKind]:
    """The engines of this process and their packages, loaded when first asked for. What is left out is said there."""
    door = PluginGroup(BUILT_IN, EngineKind, noun="engine", key="name", example="local", flaw=_flaw)
    return PluginRegistry(door, door.installed(), say=say)


def _flaw(kind: EngineKind) -> str:
    if kind.summary and "\n" not in kind.summary and callable(kind.engage):
        return ""
    return f"the engine {kind.name} must have a summary of one line, and an engage function"
