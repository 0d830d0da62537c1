"""Keeps with which automatic casts a network was called, and calls it again with the same ones."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager

import torch

Autocasts = tuple[tuple[str, torch.dtype], ...]
"""The device types whose autocast is on, each with the type cast to."""


def active_autocasts() -> Autocasts:
    """The casts that are on where this is called.

    Example:
        >>> with torch.autocast("cpu", torch.bfloat16):
        ...     active_autocasts()
        (('cpu', torch.bfloat16),)
    """
    return tuple((kind, torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind))


@contextmanager
def autocasting(autocasts: Iterable[tuple[str, torch.dtype]]) -> Generator[None]:
    """A context in which these casts are on."""
    with ExitStack() as stack:
        for kind, dtype in autocasts:
            stack.enter_context(torch.autocast(kind, dtype=dtype))
        yield
