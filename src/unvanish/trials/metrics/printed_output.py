"""Passes what a script prints to a callback, by wrapping `print` for a while.

Of values that are neither text nor numbers the text is not made again, since that would run the script's own code."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any

from unvanish.monkey_patch import CallablePatch

MAX_TEXT = 2000  # characters of one call that are passed on


@contextmanager
def watching_print(on_text: Callable[[str], None]) -> Generator[None]:
    """A context in which `on_text` gets the text of every `print` to standard output or standard error, after it was printed.

    Values that are neither text nor numbers are given as "?". What `on_text` raises is dropped: the script has no part in it.

    Example:
        >>> texts = []
        >>> with watching_print(texts.append):
        ...     print("val_acc", 0.5, None)
        val_acc 0.5 None
        >>> texts
        ['val_acc 0.5 ?']
    """

    def print_and_pass_on(original: Callable[..., None], /, *values: Any, **options: Any) -> None:
        original(*values, **options)
        if any(options.get("file") is stream for stream in (None, sys.stdout, sys.stderr)) and any(map(_is_plain, values)):
            separator = options.get("sep")
            with suppress(Exception):
                on_text((" " if separator is None else separator).join(map(_text, values))[:MAX_TEXT])

    with CallablePatch(builtins, "print", print_and_pass_on):
        yield


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) or type(value).__module__ == "numpy"


def _text(value: Any) -> str:
    return str(value) if _is_plain(value) else "?"
