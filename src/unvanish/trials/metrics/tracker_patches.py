"""Passes the metrics that a script logs to experiment trackers to a callback.

A tracker's functions are wrapped once the script has imported it; each call goes to the original first, arguments, result and
exceptions unchanged. Nothing is imported that the script does not import, and at the end every function is restored."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from unvanish.import_hooks import when_imported
from unvanish.monkey_patch import patch_in_package
from unvanish.observe.metric_values import to_float
from unvanish.trials.metrics.supported_trackers import TrackerCall, tracker_calls

OnMetrics = Callable[[Mapping[str, float]], None]


@contextmanager
def watching_trackers(on_metrics: OnMetrics) -> Generator[None]:
    """A context in which `on_metrics` gets the numbers of every call that logs metrics to a tracker, by name, after that call.

    Metrics that a tracker passes on to another one are given once. What `on_metrics` raises is dropped: the script has no part in
    it. The trackers known are those of `tracker_calls`: TensorBoard, tensorboardX, Weights & Biases, MLflow, Trackio, Comet,
    Aim, and the loggers of transformers, accelerate and Lightning.

    Example:
        >>> with watching_trackers(print):
        ...     from torch.utils.tensorboard import SummaryWriter  # doctest: +SKIP
        ...     SummaryWriter().add_scalar("val/acc", 0.5)  # doctest: +SKIP
        {'val/acc': 0.5}
    """
    patches = _TrackerPatches(on_metrics)
    patches.install()
    try:
        yield
    finally:
        patches.remove()


class _TrackerPatches:
    """Owner of the wrapped functions and of the waits for imports."""

    def __init__(self, on_metrics: OnMetrics) -> None:
        self._on_metrics = on_metrics
        self._undo: list[Callable[[], None]] = []
        self._outer_call = threading.local()  # has `may_forward` during a call that may pass its metrics on

    def install(self) -> None:
        """Waits for each package, and after it for those of its modules that are not imported yet."""
        packages: dict[str, list[TrackerCall]] = {}
        for call in tracker_calls():
            packages.setdefault(call.package, []).append(call)
        for package, calls in packages.items():
            self._undo.append(when_imported(package, functools.partial(self._await_modules, calls)))

    def remove(self) -> None:
        """Restores every function. What the script has kept of a wrapper, such as a bound method, only passes calls on."""
        while self._undo:
            self._undo.pop()()

    def _await_modules(self, calls: list[TrackerCall]) -> None:
        for call in calls:
            self._undo.append(when_imported(call.module, functools.partial(self._wrap, call)))

    def _wrap(self, call: TrackerCall) -> None:
        """Wraps the function in every module of its package that holds it; without one of that name nothing is done."""

        def call_and_report(original: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
            if getattr(self._outer_call, "may_forward", False):
                return original(*args, **options)
            self._outer_call.may_forward = call.may_forward
            try:
                result = original(*args, **options)
            finally:
                self._outer_call.may_forward = False
            with suppress(Exception):
                numbers = dict(_numbers(call.read_metrics(*args, **options), call.separator))
                if numbers:
                    self._on_metrics(numbers)
            return result

        patch = patch_in_package(call.module, call.name, call_and_report)
        if patch is not None:
            patch.install()
            self._undo.append(patch.remove)


def _numbers(metrics: Mapping[str, Any], separator: str) -> Iterator[tuple[str, float]]:
    """Names and values of the numbers in a mapping, and in the mappings inside it."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}{separator}{inner}", number) for inner, number in _numbers(value, separator))
        elif (number := to_float(value)) is not None:
            yield str(name), number
