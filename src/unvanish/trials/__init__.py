"""Trials: runs a script with edits applied in memory, in this process or in a process of its own, and reads its result.

Names are resolved when they are first used: a script may set thread counts or devices before it imports torch, so nothing
on the way to its first line may import torch or numpy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unvanish.trials.children.follow_order import FollowOrder
    from unvanish.trials.children.following import following
    from unvanish.trials.engines.local import run_trials
    from unvanish.trials.metrics.printed_metrics import OutputReader, printed_metrics, printed_series
    from unvanish.trials.metrics.printed_output import watching_print
    from unvanish.trials.metrics.reported_metrics import watching_metrics
    from unvanish.trials.metrics.tracker_patches import watching_trackers
    from unvanish.trials.script.execution import Script, ScriptExit, execute
    from unvanish.trials.script.process_exit import intercept_os_exit
    from unvanish.trials.script.seed_shift import shift_seeds
    from unvanish.trials.trial import Trial, TrialEvent
    from unvanish.trials.watched_trial import WatchedTrial

__all__ = [
    "FollowOrder",
    "OutputReader",
    "Script",
    "ScriptExit",
    "Trial",
    "TrialEvent",
    "WatchedTrial",
    "execute",
    "following",
    "intercept_os_exit",
    "printed_metrics",
    "printed_series",
    "run_trials",
    "shift_seeds",
    "watching_metrics",
    "watching_print",
    "watching_trackers",
]

_MODULES = (
    ("children.follow_order", ("FollowOrder",)),
    ("children.following", ("following",)),
    ("script.execution", ("Script", "ScriptExit", "execute")),
    ("metrics.printed_output", ("watching_print",)),
    ("script.process_exit", ("intercept_os_exit",)),
    ("metrics.printed_metrics", ("OutputReader", "printed_metrics", "printed_series")),
    ("script.seed_shift", ("shift_seeds",)),
    ("metrics.reported_metrics", ("watching_metrics",)),
    ("metrics.tracker_patches", ("watching_trackers",)),
    ("trial", ("TrialEvent", "Trial")),
    ("watched_trial", ("WatchedTrial",)),
    ("engines.local", ("run_trials",)),
)


def __getattr__(name: str) -> Any:
    for module, names in _MODULES:
        if name in names:
            return getattr(import_module(f"unvanish.trials.{module}"), name)
    raise AttributeError(f"module 'unvanish.trials' has no attribute {name!r}")
