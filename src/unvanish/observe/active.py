"""Which observer a call of `unvanish.log` belongs to. It knows no more than that."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from unvanish.errors import UsageError

# The innermost observer's way to take in a metric, or None outside every run.
METRIC_SINK: ContextVar[Callable[[str, float], None] | None] = ContextVar("METRIC_SINK", default=None)


def log(**metrics: float) -> None:
    """Notes metrics of the run, such as `log(val_accuracy=0.93)`, for the report and the race. Outside a run it does nothing.

    Values are numbers or tensors of one element; inside a run, UsageError is raised for anything else.
    """
    sink = METRIC_SINK.get()
    if sink is None:
        return
    for name, value in metrics.items():
        try:
            number = float(value)
        except (TypeError, ValueError) as fault:
            raise UsageError(
                f"log({name}=...) takes a number, and was given {value!r}; pass metric.item() or float(metric)"
            ) from fault
        sink(name, number)
