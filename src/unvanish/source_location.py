"""Finds the file and line of the user's program that led to a call, by walking the Python frames. Never imports torch.

Where a library calls, the line is that of the project which called the library; `project_files` tells them apart."""

from __future__ import annotations

import linecache
from collections.abc import Iterator
from types import CodeType, FrameType

from unvanish.project_files import current_project
from unvanish.record.structure import Location

FileLine = tuple[str, int]


def is_user_code(code: CodeType) -> bool:
    """Whether code comes from a file of the project that runs."""
    return current_project().includes(code.co_filename)  # by file name: code objects of equal content are equal in any file


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
