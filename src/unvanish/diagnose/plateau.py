"""Measures how long a loss stands still at the start of a run before it begins to fall."""

from __future__ import annotations

import numpy as np

from unvanish.diagnose.run_view import Row
from unvanish.diagnose.thresholds import BEGAN_TO_FALL

_WINDOWS = 50  # of a run: medians over one tell a fall from noise
_MIN_WIDTH = 3  # steps


def count_plateau_steps(losses: Row) -> int:
    """The number of steps before the loss, as a running median, has fallen by a twentieth of its start; all, where it never has.

    Arguments:
        losses: The loss of every step; float64 of shape (steps,), not empty, finite.

    Example:
        >>> count_plateau_steps(np.concatenate([np.full(40, 2.3), np.linspace(2.3, 0.5, 60)]))
        44
    """
    width = max(_MIN_WIDTH, len(losses) // _WINDOWS)
    start = float(np.median(losses[:width]))
    padded = np.pad(losses, (width // 2, width - 1 - width // 2), mode="edge")
    levels = np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)  # (steps,)
    fallen = np.flatnonzero(levels < start - BEGAN_TO_FALL.value * abs(start))
    return int(fallen[0]) if len(fallen) else len(losses)
