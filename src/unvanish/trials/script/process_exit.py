"""How a trial's process ends other than by its script's return: told of in time, and waited for no longer than makes sense.

A script may leave by `os._exit`, and one that has returned may have left threads or processes for which Python waits for ever.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, NoReturn, final

from unvanish.trials.script.tracebacks import flush

PATIENCE_S = 30.0  # for what is left of a script that has ended, from its last step on


@contextmanager
def hard_exits_told(tell: Callable[[int], object]) -> Generator[None]:
    """A context in which `os._exit` first calls `tell` with the exit code, and then ends this process, whatever comes of that.

    Forked processes, which end so as a rule, are none of ours.
    """
    original, process = os._exit, os.getpid()

    def leave(status: int) -> NoReturn:
        try:
            if os.getpid() == process:
                tell(status)
                flush()
        finally:
            original(status)

    os._exit = leave
    try:
        yield
    finally:
        if os._exit is leave:
            os._exit = original


@final
class IdleTimeout:
    """Says when nothing more is to be hoped for: nothing has changed for `seconds`, by the clock given."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._since, self._seen = clock(), None

    def ended(self, state: Any) -> bool:
        """Whether `state` is what it was for so long."""
        if state != self._seen:
            self._since, self._seen = self._clock(), state
        return self._clock() - self._since >= self._seconds


def lingering() -> bool:
    """Whether the interpreter would wait at its end: for a thread, or for a process of `multiprocessing`."""
    threads = any(not t.daemon and t is not threading.main_thread() for t in threading.enumerate())
    multiprocessing = sys.modules.get("multiprocessing")
    return threads or (multiprocessing is not None and any(not child.daemon for child in multiprocessing.active_children()))


def leave(code: int) -> NoReturn:
    """Ends this process with that exit code, as Python does, but at once where something lingers."""
    flush()
    if lingering():
        os._exit(code)
    sys.exit(code)
