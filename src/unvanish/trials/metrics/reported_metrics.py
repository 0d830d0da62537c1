"""Passes the metrics that a script reports to a callback: those that it prints, and those that it gives to experiment trackers."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from unvanish.trials.metrics.printed_metrics import OutputReader
from unvanish.trials.metrics.printed_output import watching_print
from unvanish.trials.metrics.tracker_patches import OnMetrics, watching_trackers


@contextmanager
def watching_metrics(on_metrics: OnMetrics) -> Generator[None]:
    """A context in which `on_metrics` gets the metrics that the script prints or logs, by name, after each such call.

    Example:
        >>> with watching_metrics(print):  # doctest: +SKIP
        ...     exec(open("train.py").read())
        {'val_accuracy': 0.5}
    """
    printed = OutputReader()

    def read(text: str) -> None:
        if metrics := printed.metrics(text):
            on_metrics(metrics)

    with watching_print(read), watching_trackers(on_metrics):
        yield
