"""Finds the file and line of the user's program that led to a call, by walking the Python frames. Never imports torch."""

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
# The examples are shipped inside the package but are run as a user's script.
_EXAMPLES = f"{_PACKAGE / 'examples'}{os.sep}"

FileLine = tuple[str, int]


@cache
def _library_prefixes() -> tuple[str, ...]:
    """The prefixes of file names in torch, in this package, and of code without a file, such as "<string>"."""
    torch = find_spec("torch")
    roots = [_PACKAGE] + ([Path(torch.origin).resolve().parent] if torch is not None and torch.origin else [])
    return ("<", *(f"{root}{os.sep}" for root in roots))


def is_user_code(code: CodeType) -> bool:
    """Whether code comes from a file that is neither torch's nor this package's."""
    return _is_user_file(code.co_filename)


@cache  # keyed by file name, since code objects of the same content compare equal whatever their file
def _is_user_file(name: str) -> bool:
    return name.startswith(_EXAMPLES) or not name.startswith(_library_prefixes())


def user_frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of the user's own code from `frame` outwards, innermost first."""
    while frame is not None:
        if is_user_code(frame.f_code):
            yield frame
        frame = frame.f_back


def find_user_line(frame: FrameType | None) -> FileLine | None:
    """File and line number (from 1) of the innermost user frame from `frame` outwards; None where there is none.

    Example:
        >>> import sys
        >>> scope = {}
        >>> exec(compile("def call(function): return function()", "net.py", "exec"), scope)
        >>> scope["call"](lambda: find_user_line(sys._getframe(1)))
        ('net.py', 1)
    """
    for user_frame in user_frames(frame):
        return user_frame.f_code.co_filename, user_frame.f_lineno
    return None


def read_location(line: FileLine | None) -> Location | None:
    """The location of a file and line, with the source text of that line: "" where the file cannot be read. None for None.

    Example:
        >>> read_location(("/nowhere/net.py", 3))
        Location(file='/nowhere/net.py', line=3, text='')
    """
    return Location(*line, linecache.getline(*line).strip()) if line else None
