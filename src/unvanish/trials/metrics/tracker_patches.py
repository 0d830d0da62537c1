"""Hears the metrics that a script tells to experiment trackers, and changes nothing of it.

A tracker's functions are wrapped once the script has imported it; each call goes to the original first, arguments, result and
exceptions untouched. Nothing is imported that the script does not import, and at the end everything is as it was.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from unvanish.observe.statistics.scalars import number
from unvanish.trials.metrics.tracker_calls import TrackerCall, tracker_calls
from unvanish.trials.script.import_hooks import when_imported

Note = Callable[[Mapping[str, float]], None]


@contextmanager
def watching_trackers(note: Note) -> Generator[None]:
    """`note` gets the numbers of every call inside that tells a tracker of metrics, by their names, after the tracker has got them.
    What a tracker hands on to another one is noted once. What `note` raises is dropped: the script has no part in it."""
    ear = _Ear(note)
    ear.open()
    try:
        yield
    finally:
        ear.close()


class _Ear:
    """What is wrapped and awaited, and how to take it back."""

    def __init__(self, note: Note) -> None:
        self._note, self._open = note, True
        self._undo: list[Callable[[], None]] = []
        self._passing = threading.local()  # has `on` while a call is under way that may pass on what it was told

    def open(self) -> None:
        """Waits for each package, and after it for the modules in it that are not there yet."""
        packages: dict[str, list[TrackerCall]] = {}
        for call in tracker_calls():
            packages.setdefault(call.package, []).append(call)
        for package, calls in packages.items():
            self._undo.append(when_imported(package, functools.partial(self._await_modules, calls)))

    def close(self) -> None:
        """Takes everything back. What the script has kept of it, such as a bound method, passes on and notes no more."""
        self._open = False
        while self._undo:
            self._undo.pop()()

    def _await_modules(self, calls: list[TrackerCall]) -> None:
        for call in calls:
            self._undo.append(when_imported(call.module, functools.partial(self._wrap, call)))

    def _wrap(self, call: TrackerCall) -> None:
        """Wraps the function at all places where its package keeps it; where there is none of that name, nothing is done."""
        owner, _, name = call.name.rpartition(".")
        home = sys.modules[call.module]
        owners = [vars(home).get(owner)] if owner else [home, *_modules_of(call.package)]
        original = vars(owners[0]).get(name) if isinstance(owners[0], type | ModuleType) else None
        if not callable(original):
            return
        wrapper = self._wrapper(call, original)
        for place in owners:
            if vars(place).get(name) is original:
                setattr(place, name, wrapper)
                self._undo.append(functools.partial(_restore, place, name, wrapper, original))

    def _wrapper(self, call: TrackerCall, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def call_and_tell(*args: Any, **options: Any) -> Any:
            outermost = not getattr(self._passing, "on", False)
            if not outermost or not self._open:
                return original(*args, **options)
            self._passing.on = call.passes_on
            try:
                result = original(*args, **options)
            finally:
                self._passing.on = False
            with suppress(Exception):
                found = dict(_numbers(call.told(*args, **options), call.joint))
                if found:
                    self._note(found)
            return result

        return call_and_tell


def _numbers(told: Mapping[str, Any], joint: str) -> Iterator[tuple[str, float]]:
    """Names and values of what is a number in it, also further inside."""
    for name, value in told.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}{joint}{inner}", found) for inner, found in _numbers(value, joint))
        elif (found := number(value)) is not None:
            yield str(name), found


def _modules_of(package: str) -> Iterator[ModuleType]:
    """The package's modules that are there."""
    entries: list[tuple[str, object]] = list(sys.modules.items())
    for name, module in entries:
        if name.partition(".")[0] == package and isinstance(module, ModuleType):  # an entry may be anything
            yield module


def _restore(place: Any, name: str, wrapper: object, original: object) -> None:
    if vars(place).get(name) is wrapper:
        setattr(place, name, original)
