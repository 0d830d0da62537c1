"""How the user's program names a module, and where it built it. It reads frames and alters nothing."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from torch import nn

from unvanish.source_location import user_frames


def locals_of(frame: FrameType) -> dict[str, Any]:
    """A copy of the local variables of a frame.

    Before Python 3.13 a function's frame keeps the snapshot that it makes for us: what the script deletes would live on
    until that function ends. It is emptied, unless the script holds it too, by a call of `locals()`.
    """
    snapshot = frame.f_locals
    names = dict(snapshot)
    ours_alone = sys.getrefcount(snapshot) == 3  # the frame's, ours, and the one passed to getrefcount
    if sys.version_info < (3, 13) and frame.f_code.co_flags & inspect.CO_OPTIMIZED and ours_alone:
        snapshot.clear()
    return names


def built_at(module: nn.Module) -> tuple[str, int] | None:
    """File and line of the expression that is building `module`: the first user frame outside its own `__init__` chain."""
    for frame in user_frames(inspect.currentframe()):
        code = frame.f_code
        inside = code.co_name == "__init__" and code.co_varnames and locals_of(frame).get(code.co_varnames[0]) is module
        if not inside:
            return code.co_filename, frame.f_lineno
    return None


def names_in(frame: FrameType) -> Iterator[tuple[str, nn.Module]]:
    """The modules that a frame names, with the expression that does: locals, attributes of `self`, globals that its code uses."""
    variables = locals_of(frame)
    for name, value in variables.items():
        if isinstance(value, nn.Module):
            yield name, value
    owner = variables.get("self")
    if owner is not None and not isinstance(owner, nn.Module):
        for name, value in getattr(owner, "__dict__", {}).items():
            if isinstance(value, nn.Module):
                yield f"self.{name}", value
    for name in frame.f_code.co_names:
        if isinstance(value := frame.f_globals.get(name), nn.Module):
            yield name, value


def name_of(module: nn.Module, frame: FrameType | None) -> str | None:
    """The expression by which the user's frames, innermost first, name `module`; "self" and private names last."""
    fallback = None
    for user_frame in user_frames(frame):
        names = [name for name, value in names_in(user_frame) if value is module]
        others = [name for name in names if name != "self"]
        if others:
            return min(others, key=lambda name: name.startswith("_"))
        fallback = "self" if names else fallback
    return fallback
