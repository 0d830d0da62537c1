"""Ends a trial's process, and intercepts `os._exit` so that the record is completed before the process is gone.

A script that has returned may have left threads or processes for which Python would wait for ever; they get a limited time."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, NoReturn, final

from unvanish.monkey_patch import CallablePatch
from unvanish.trials.script.tracebacks import flush_output

IDLE_TIMEOUT_S = 30.0  # for threads that a script has left, from its last training step on


@contextmanager
def intercept_os_exit(on_exit: Callable[[int], object]) -> Generator[None]:
    """A context in which `os._exit` first calls `on_exit` with the exit code; the process ends even where that raises.

    In processes forked inside, which usually end by `os._exit`, `on_exit` is not called. What the script has not flushed stays so:
    without us it would be lost.
    """
    process = os.getpid()

    def exit_after_callback(original: Callable[[int], NoReturn], status: int) -> NoReturn:
        try:
            if os.getpid() == process:
                on_exit(status)
        finally:
            original(status)

    with CallablePatch(os, "_exit", exit_after_callback):
        yield


@final
class IdleTimeout:
    """Tells when a state has not changed for `seconds`, by `clock`.

    Example:
        >>> times = iter([0.0, 1.0, 20.0, 31.0])
        >>> timeout = IdleTimeout(30.0, clock=lambda: next(times))
        >>> timeout.is_expired("step 7"), timeout.is_expired("step 7")
        (False, True)
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._since, self._last = clock(), None

    def is_expired(self, state: Any) -> bool:
        """Whether `state` has been the same for that long."""
        if state != self._last:
            self._since, self._last = self._clock(), state
        return self._clock() - self._since >= self._seconds


def would_wait_at_exit() -> bool:
    """Whether the interpreter would wait at its end for a thread or a process of `multiprocessing`."""
    threads = any(not t.daemon and t is not threading.main_thread() for t in threading.enumerate())
    multiprocessing = sys.modules.get("multiprocessing")
    return threads or (multiprocessing is not None and any(not child.daemon for child in multiprocessing.active_children()))


def exit_process(code: int) -> NoReturn:
    """Ends this process with that exit code, as Python does, but at once where Python would wait for threads or processes."""
    flush_output()
    if would_wait_at_exit():
        os._exit(code)
    sys.exit(code)
