"""Hears what a script prints, and changes nothing of it: `print` is wrapped for a while, and passes everything on as it is.

Only of text and numbers the text is made once more, since to make it of anything else would run the script's own code.
"""

from __future__ import annotations

import builtins
import functools
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

LONGEST = 2000  # characters of one call that are looked at


@contextmanager
def watching_print(hear: Callable[[str], None]) -> Generator[None]:
    """`hear` gets the text of every `print` to standard output or standard error inside, after it was printed. What it raises is
    dropped: the script has no part in it."""
    original = builtins.print

    @functools.wraps(original)
    def print_and_hear(*values: Any, **options: Any) -> None:
        original(*values, **options)
        if any(options.get("file") is each for each in (None, sys.stdout, sys.stderr)) and any(map(_is_plain, values)):
            separator = options.get("sep")
            with suppress(Exception):
                hear((" " if separator is None else separator).join(map(_text, values))[:LONGEST])

    builtins.print = print_and_hear
    try:
        yield
    finally:
        if builtins.print is print_and_hear:
            builtins.print = original


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) or type(value).__module__ == "numpy"


def _text(value: Any) -> str:
    return str(value) if _is_plain(value) else "?"
