"""Measures how large a tensor is as a logarithm that never underflows. Values stay on their device; one number is read back."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SAFE_NORMS = (1e-15, 1e15)  # their squares add up in float32 without loss; other norms are taken in float64 after scaling
SMALL_VARIANCE = 1e-4  # share of the squared mean below which a variance is taken in a pass of its own, twenty times as slow
LOG10_2 = math.log10(2.0)


def log10_rms(tensor: Tensor) -> float:
    """log10 of the root mean square over all elements; -inf for zeros, NaN where a value is not finite or there is none.

    Cost: one pass; a second and third only for norms outside 1e-15 to 1e15.

    Example:
        >>> round(log10_rms(torch.tensor([1e-30, -1e-30])), 6)  # float32 does not hold their squares
        -30.0
    """
    values = _stored_values(tensor)
    if not tensor.numel():
        return math.nan
    wide = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    norm = float(torch.linalg.vector_norm(wide))
    scale = 1.0
    if not SAFE_NORMS[0] < norm < SAFE_NORMS[1]:
        scale = float(wide.abs().max())
        if scale == 0.0 or not math.isfinite(scale):
            return -math.inf if scale == 0.0 else math.nan
        norm = float(torch.linalg.vector_norm(wide.to(torch.complex128 if wide.is_complex() else torch.float64) / scale))
    return math.log10(norm) + math.log10(scale) - 0.5 * math.log10(tensor.numel())


def mean_and_std(tensor: Tensor) -> tuple[float, float]:
    """Mean and standard deviation over all elements of a real tensor; NaN for others."""
    values = _stored_values(tensor.detach())
    if not values.is_floating_point() or not values.numel():
        return math.nan, math.nan
    wide = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    mean = float(wide.mean())
    variance = float(torch.linalg.vector_norm(wide)) ** 2 / wide.numel() - mean**2
    if not variance > SMALL_VARIANCE * mean**2:  # the difference has lost its digits, or is not a number
        return mean, float(torch.std(wide, correction=0))
    return mean, math.sqrt(variance)


def rescaling_exponent(log10_size: float, dtype: torch.dtype) -> int:
    """The power of two to divide by so that values of that RMS keep clear of the ends of `dtype`; 0 where they do already.

    A third of the range is left at either end, for elements far from the RMS and for what one operation may do to them.

    Example:
        >>> rescaling_exponent(-30.0, torch.float32), rescaling_exponent(-30.0, torch.float64)
        (-100, 0)
    """
    if not math.isfinite(log10_size):
        return 0
    limits = torch.finfo(dtype)
    if math.log10(limits.tiny) / 3.0 < log10_size < math.log10(limits.max) / 3.0:
        return 0
    return round(log10_size / LOG10_2)


def _stored_values(tensor: Tensor) -> Tensor:
    return tensor.coalesce().values() if tensor.is_sparse else tensor
