"""A live run to readings: hooks on sampled steps only, under a time budget that it measures and keeps. It judges nothing.

The observer needs torch and is loaded when first asked for, since a script may want to set threads or devices before that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from unvanish.observe.logged_metrics import log
from unvanish.observe.settings import Progress, Settings, StopTraining

if TYPE_CHECKING:
    from unvanish.observe.observer import Observer
    from unvanish.observe.run_facts import facts_of

__all__ = ["Observer", "Progress", "Settings", "StopTraining", "facts_of", "log"]


def __getattr__(name: str) -> Any:
    if name == "Observer":
        from unvanish.observe.observer import Observer

        return Observer
    if name == "facts_of":
        from unvanish.observe.run_facts import facts_of

        return facts_of
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
