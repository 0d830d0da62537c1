"""Keeps the random states of Python, numpy and torch, so that what draws in between leaves no trace in the user's program."""

from __future__ import annotations

import random
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager

import torch


@contextmanager
def preserved_random_state(devices: Iterable[int | torch.device] | None = None, *, device_type: str = "cuda") -> Generator[None]:
    """A context after which every random state is as it was before, bit for bit.

    Arguments:
        devices: the accelerators whose generators are kept besides the CPU's; None stands for all that there are.
        device_type: what kind of accelerators these are.

    numpy's global generator is kept where numpy is loaded; generators that the program made itself are not touched.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(3)
        >>> with preserved_random_state():
        ...     inside = torch.rand(2)
        >>> torch.equal(torch.rand(2), inside)
        True
    """
    python_state, numpy = random.getstate(), sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy is not None else None
    kept = None if devices is None else list(devices)
    try:
        with torch.random.fork_rng(kept, device_type=device_type):
            yield
    finally:
        random.setstate(python_state)
        if numpy is not None:
            numpy.random.set_state(numpy_state)
