"""One number from what people pass for a metric: a bool, an int, numpy's scalars, a tensor of one element. It imports no library.

Reading changes nothing: a tensor is detached first. On an accelerator it waits for the value, so callers decide whether to read.
"""

from __future__ import annotations

import sys
from numbers import Real
from typing import Any


def number(value: Any) -> float | None:
    """The value as a float, or None where it is not one real number. Text is no number, whatever it spells."""
    try:
        if isinstance(value, Real):
            return float(value)
        if _is_tensor(value):
            return float(value.detach().item()) if value.numel() == 1 and not value.is_complex() else None
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.generic | numpy.ndarray):
            return float(value.item()) if value.size == 1 and value.dtype.kind in "biuf" else None
    except (TypeError, ValueError, OverflowError, RuntimeError):  # too large for a float, or a tensor that has no value yet
        return None
    return None


def waits(value: Any) -> bool:
    """Whether reading the value would wait for an accelerator."""
    return _is_tensor(value) and value.device.type != "cpu"


def _is_tensor(value: Any) -> bool:
    """Whether the value is a tensor that has its data here. Kinds of torch's own that have not, such as a tensor spread over
    processes, are left alone: to read one is a step that all of them have to take."""
    torch = sys.modules.get("torch")
    tensor = getattr(torch, "Tensor", None)  # none while torch is being imported
    kind = type(value)
    if tensor is None or not isinstance(value, tensor):
        return False
    return kind is tensor or kind.__name__ == "Parameter" or not kind.__module__.startswith("torch.")
