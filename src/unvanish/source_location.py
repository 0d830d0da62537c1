"""Which line of the user's program led here. It reads frames, alters nothing, and imports no library that it looks for."""

from __future__ import annotations

import linecache
import os
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FrameType

from unvanish.record.structure import Location

_PACKAGE = Path(__file__).resolve().parent
_EXAMPLES = f"{_PACKAGE / 'examples'}{os.sep}"  # they ship with us, and are a user's scripts all the same


@cache
def _foreign() -> tuple[str, ...]:
    """How the file names of torch's code and of ours begin, and those of code that comes from no file."""
    torch = find_spec("torch")
    roots = [_PACKAGE] + ([Path(torch.origin).resolve().parent] if torch is not None and torch.origin else [])
    return ("<", *(f"{root}{os.sep}" for root in roots))


def is_users(code: CodeType) -> bool:
    """Whether a piece of code is the user's: neither torch's nor ours, and from a file."""
    return _is_users_file(code.co_filename)


@cache  # by name: pieces of code that look alike are equal, whatever file they come from
def _is_users_file(name: str) -> bool:
    return name.startswith(_EXAMPLES) or not name.startswith(_foreign())


def user_frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of the user's own code, innermost first."""
    while frame is not None:
        if is_users(frame.f_code):
            yield frame
        frame = frame.f_back


def place(frame: FrameType | None) -> tuple[str, int] | None:
    """File and line of the innermost user frame from `frame` outwards."""
    for user_frame in user_frames(frame):
        return user_frame.f_code.co_filename, user_frame.f_lineno
    return None


def location(place: tuple[str, int] | None) -> Location | None:
    """A place with the text of its line."""
    return Location(*place, linecache.getline(*place).strip()) if place else None
