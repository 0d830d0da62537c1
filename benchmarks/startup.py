"""Measures the start-up cost of `unvanish --help` in CPU seconds of the whole process."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys


def measure_cpu_seconds(runs: int) -> float:
    """The median CPU time of `unvanish --help` over `runs` runs."""
    seconds: list[float] = []
    for _ in range(runs):
        before = os.times()
        subprocess.run([sys.executable, "-m", "unvanish", "--help"], capture_output=True, check=True)
        after = os.times()
        seconds.append(after.children_user - before.children_user + after.children_system - before.children_system)
    return statistics.median(seconds)
