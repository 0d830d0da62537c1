"""The processor cores and the free memory of this machine."""

from __future__ import annotations

import psutil


def usable_cores() -> int:
    """Number of logical cores that this process may use: those of its CPU affinity where the system has such a thing.

    macOS has none, so all cores count there.
    """
    if psutil.LINUX or psutil.WINDOWS or psutil.FREEBSD:
        return len(psutil.Process().cpu_affinity() or ()) or 1
    return psutil.cpu_count() or 1


def available_memory_bytes() -> int:
    """Bytes that new processes can use without swapping, caches that the system would give up included."""
    return psutil.virtual_memory().available
