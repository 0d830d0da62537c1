"""The largest resident memory that this process has had, as the system counts it."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import psutil
else:
    import resource  # psutil tells the peak on Windows alone

MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # unit of `ru_maxrss`


def peak_memory_bytes() -> int:
    """Largest resident size of this process so far, in bytes. On Linux a forked process starts with the peak of its parent."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_BYTES
