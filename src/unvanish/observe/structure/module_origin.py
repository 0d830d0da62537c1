"""Finds the variable by which the user's program names a module, and the line that built it, by reading Python frames."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any

from torch import nn

from unvanish.project_files import is_core_library
from unvanish.source_location import FileLine, is_user_code, user_frames


@dataclass(frozen=True, slots=True)
class BuildLine:
    """The line of the project that led to a module's construction. `through_library`: it called a library, which built it."""

    line: FileLine
    through_library: bool = False


def copy_locals(frame: FrameType) -> dict[str, Any]:
    """A copy of the local variables of a frame.

    Before Python 3.13 a function's frame caches the snapshot that reading it makes: what the script deletes would live on until
    that function ends. The snapshot is emptied, unless the script holds it too, by a call of `locals()`.
    """
    snapshot = frame.f_locals
    variables = dict(snapshot)
    is_unshared = sys.getrefcount(snapshot) == 3  # the frame's, the one here, and the argument of getrefcount
    if sys.version_info < (3, 13) and frame.f_code.co_flags & inspect.CO_OPTIMIZED and is_unshared:
        snapshot.clear()
    return variables


def find_build_line(module: nn.Module) -> BuildLine | None:
    """The line of the expression that is building `module`: the first user frame outside its own `__init__` chain."""
    through_library, frame = False, inspect.currentframe()
    while frame is not None:
        code = frame.f_code
        if is_user_code(code):
            if not _is_own_init(frame, module):
                return BuildLine((code.co_filename, frame.f_lineno), through_library)
        elif not through_library and not is_core_library(code.co_filename):
            through_library = not _is_own_init(frame, module)
        frame = frame.f_back
    return None


def _is_own_init(frame: FrameType, module: nn.Module) -> bool:
    """Whether a frame runs a constructor of the module itself, or of a class that it descends from."""
    code = frame.f_code
    return code.co_name == "__init__" and bool(code.co_varnames) and copy_locals(frame).get(code.co_varnames[0]) is module


def named_modules(frame: FrameType) -> Iterator[tuple[str, nn.Module]]:
    """The modules in scope of a frame, as (expression, module): locals, attributes of `self`, globals that its code uses, and
    attributes of other objects among the locals, such as a trainer's."""
    variables = copy_locals(frame)
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
    for name, holder in variables.items():
        if name != "self" and not isinstance(holder, nn.Module | ModuleType | type):
            for attribute, value in getattr(holder, "__dict__", {}).items():
                if isinstance(value, nn.Module):
                    yield f"{name}.{attribute}", value


def find_name(module: nn.Module, frame: FrameType | None) -> str | None:
    """The expression by which the user's frames, innermost first, name `module`; "self" and private names last."""
    fallback = None
    for user_frame in user_frames(frame):
        names = [name for name, value in named_modules(user_frame) if value is module]
        specific = [name for name in names if name != "self"]
        if specific:
            return min(specific, key=lambda name: name.startswith("_"))
        fallback = "self" if names else fallback
    return fallback
