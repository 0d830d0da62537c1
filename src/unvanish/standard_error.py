"""Prints lines of ours on standard error, which may be closed, a broken pipe or on a full disk: then there is nobody to tell."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TextIO


def print_to_stderr(line: str, *, stream: TextIO | None = None) -> None:
    """Prints "unvanish: " and the line on `stream`, by default standard error; does nothing where that cannot be written to."""
    write_to_stderr(f"unvanish: {line}\n", stream=stream)


def write_to_stderr(text: str, *, stream: TextIO | None = None) -> None:
    """Writes a text on `stream`, by default standard error; does nothing where that cannot be written to.

    `print` would take standard output instead where a process was started without a standard error.
    """
    target = stream if stream is not None else sys.stderr
    if target is not None:  # pyright: ignore[reportUnnecessaryComparison]
        with suppress(OSError, ValueError):
            target.write(text)
            target.flush()


def is_terminal() -> bool:
    """Whether standard error is a terminal."""
    with suppress(OSError, ValueError, AttributeError):
        return sys.stderr.isatty()
    return False
