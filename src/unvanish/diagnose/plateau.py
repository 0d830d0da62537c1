"""How long a loss stood still at the start of a run before it began to fall."""

from __future__ import annotations

import numpy as np

from unvanish.diagnose.run_view import Row
from unvanish.diagnose.thresholds import BEGAN_TO_FALL

_PARTS = 50  # of a run: medians over one tell a fall from noise
_FEWEST = 3


def plateau(losses: Row) -> int:
    """The number of steps before the loss, as a running median, has fallen by a twentieth of its start; all, where it never has."""
    width = max(_FEWEST, len(losses) // _PARTS)
    start = float(np.median(losses[:width]))
    padded = np.pad(losses, (width // 2, width - 1 - width // 2), mode="edge")
    levels = np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)
    fallen = np.flatnonzero(levels < start - BEGAN_TO_FALL.value * abs(start))
    return int(fallen[0]) if len(fallen) else len(losses)
