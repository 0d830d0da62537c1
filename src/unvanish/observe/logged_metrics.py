"""Passes metrics that a script reports by `unvanish.log` to the innermost observer."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from unvanish.errors import UsageError
from unvanish.observe.metric_values import to_float

# The function by which the innermost observer records a metric, or None outside every run.
METRIC_SINK: ContextVar[Callable[[str, float], None] | None] = ContextVar("METRIC_SINK", default=None)


def log(**metrics: Any) -> None:
    """Records metrics of the run, such as `log(val_accuracy=0.93)`, for the report and the race. Outside a run it does nothing.

    Values are numbers, of Python or numpy, or tensors of one element; inside a run, UsageError is raised for anything else, and
    none of the call's metrics is recorded.

    Example:
        >>> import unvanish
        >>> unvanish.log(val_accuracy=0.93, val_loss=0.21)
    """
    sink = METRIC_SINK.get()
    if sink is None:
        return
    for name, value in {name: _to_number(name, value) for name, value in metrics.items()}.items():
        sink(name, value)


def _to_number(name: str, value: Any) -> float:
    number = to_float(value)
    if number is None:
        raise UsageError(f"unvanish.log({name}=...) takes one number, and was given {_describe(value)}")
    return number


def _describe(value: Any) -> str:
    """What the value is, and what to pass instead."""
    shape = getattr(value, "shape", None)
    kind = type(value).__name__
    if isinstance(value, str | bytes):
        return f"text, {value!r}: pass the number itself, such as float({value!r})"
    if shape is not None and tuple(shape):
        return f"a {kind} of shape {tuple(shape)}: pass a summary, such as value.mean(), or each part under a name of its own"
    if value is None:
        return "None: leave it out where there is no value"
    return f"a {kind}: pass float(value), or what your library gives as the metric's number, such as value.compute()"
