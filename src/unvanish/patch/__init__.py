"""A remedy written into the user's source, as text. Pure: it never runs the source and never touches the disk.

Names are resolved when they are first used, since parsing takes libraries that a program which is not patched can do without.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unvanish.patch.apply_line import suggestion, with_apply
    from unvanish.patch.difference import unified
    from unvanish.patch.encoding import decoded
    from unvanish.patch.own_lines import before_optimizer, behind_optimizer, with_rate_scaled
    from unvanish.patch.writing import written

__all__ = [
    "before_optimizer",
    "behind_optimizer",
    "decoded",
    "suggestion",
    "unified",
    "with_apply",
    "with_rate_scaled",
    "written",
]

_HOMES = (
    ("apply_line", ("suggestion", "with_apply")),
    ("difference", ("unified",)),
    ("encoding", ("decoded",)),
    ("own_lines", ("before_optimizer", "behind_optimizer", "with_rate_scaled")),
    ("writing", ("written",)),
)


def __getattr__(name: str) -> Any:
    for home, names in _HOMES:
        if name in names:
            return getattr(import_module(f"unvanish.patch.{home}"), name)
    raise AttributeError(f"module 'unvanish.patch' has no attribute {name!r}")
