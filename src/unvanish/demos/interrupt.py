"""Ctrl-C as a flag that a loop can ask for, so that results so far are kept; and starting processes that ignore Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interrupt_requested() -> Generator[Callable[[], bool]]:
    """A function that returns whether Ctrl-C was pressed in the block; a second Ctrl-C raises KeyboardInterrupt.

    Outside of the main thread, where Python delivers no signals, it always returns False.
    """
    is_pressed = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: is_pressed
        return
    previous_handler = signal.getsignal(signal.SIGINT)

    def record_interrupt(_number: int, _frame: Any) -> None:
        nonlocal is_pressed
        is_pressed = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, record_interrupt)
    try:
        yield lambda: is_pressed
    finally:
        signal.signal(signal.SIGINT, previous_handler)


@contextmanager
def sigint_ignored() -> Generator[None]:
    """Ignores SIGINT in the block, and for good in processes that are started in it.

    A terminal sends Ctrl-C to every process of its group; worker processes leave it to the one that started them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous_handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)
