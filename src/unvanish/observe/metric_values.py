"""Converts what people pass as a metric to a float: a bool, an int, a scalar of numpy, a tensor of one element.

Neither torch nor numpy is imported. Converting a tensor on an accelerator synchronises; `needs_synchronisation` tells beforehand.
"""

from __future__ import annotations

import sys
from numbers import Real
from typing import Any


def to_float(value: Any) -> float | None:
    """The value as a float, or None where it is not one real number; text is none.

    Example:
        >>> to_float(True), to_float("0.5"), to_float([0.5])
        (1.0, None, None)
    """
    try:
        if isinstance(value, Real):
            return float(value)
        if _is_tensor(value):
            return float(value.detach().item()) if value.numel() == 1 and not value.is_complex() else None
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.generic | numpy.ndarray):
            return float(value.item()) if value.size == 1 and value.dtype.kind in "biuf" else None
    except (TypeError, ValueError, OverflowError, RuntimeError):  # too large for a float, or a tensor without data
        return None
    return None


def needs_synchronisation(value: Any) -> bool:
    """Whether converting the value would synchronise with an accelerator."""
    return _is_tensor(value) and value.device.type != "cpu"


def _is_tensor(value: Any) -> bool:
    """Whether the value is a tensor with its data in this process. Other classes of torch, such as a tensor distributed over
    processes, are excluded: all of these would have to take part in reading one."""
    torch = sys.modules.get("torch")
    tensor = getattr(torch, "Tensor", None)  # none while torch is being imported
    tensor_type = type(value)
    if tensor is None or not isinstance(value, tensor):
        return False
    return tensor_type is tensor or tensor_type.__name__ == "Parameter" or not tensor_type.__module__.startswith("torch.")
