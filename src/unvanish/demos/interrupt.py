"""Ctrl-C as a wish that can be asked for, so that what was measured so far is not lost. A second one ends at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def wishes_to_end() -> Generator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed since the block began. Outside of the main thread, where no signal arrives, it never was."""
    pressed = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: pressed
        return
    before = signal.getsignal(signal.SIGINT)

    def note(_number: int, _frame: Any) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def deaf() -> Generator[None]:
    """Ctrl-C reaches every process of a terminal; one that is started in this block leaves it to the process that started it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
