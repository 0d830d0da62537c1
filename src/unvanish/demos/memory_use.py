"""How much memory this process has used at most. Nothing is traced: the system counts it anyway."""

from __future__ import annotations

import math
import sys

if sys.platform != "win32":
    import resource


def peak_gigabytes() -> float:
    """The largest resident size of this process so far, in GB; NaN where the system does not tell."""
    if sys.platform == "win32":
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
