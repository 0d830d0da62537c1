"""A remedy written into the user's source, as text. Pure: it never runs the source and never touches the disk.

What it needs is loaded when it is first used, since parsing takes a library that a program which is not patched can do without.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unvanish.patch.apply_lines import before_optimizer, behind_optimizer
    from unvanish.patch.source.encoding import decoded, encoded
    from unvanish.patch.unified_diff import unified
    from unvanish.record.change import PatchContext, Plan

__all__ = [
    "before_optimizer",
    "behind_optimizer",
    "decoded",
    "encoded",
    "unified",
    "written",
]

_HOMES = (
    ("unified_diff", ("unified",)),
    ("source.encoding", ("decoded", "encoded")),
    ("apply_lines", ("before_optimizer", "behind_optimizer")),
)


def written(plan: Plan, blueprint: PatchContext, read: Callable[[Path], str], *, rate_factor: float = 1.0) -> dict[Path, str]:
    """The files of the user's that the plan edits, with their new text; files that need no edit are left out.

    Each remedy is written in place where all of its edits can be said there; the others go into one `unvanish.apply` line where the
    optimizer is built. `rate_factor` multiplies the learning rate besides: that of the optimizer which the plan puts in another's
    place, where it does. A source that has the edits already stays as it is.
    Raises TrialError where neither can be done, and ScriptError where a file cannot be read.
    """
    from unvanish.patch import plan_edits

    return plan_edits.written(plan, blueprint, read, rate_factor=rate_factor)


def __getattr__(name: str) -> Any:
    for home, names in _HOMES:
        if name in names:
            return getattr(import_module(f"unvanish.patch.{home}"), name)
    raise AttributeError(f"module 'unvanish.patch' has no attribute {name!r}")
