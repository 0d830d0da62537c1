"""What `unvanish --help` costs: CPU seconds of the whole process, and whether torch was imported for it."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys


def cpu_seconds(runs: int) -> float:
    """The median CPU time of `unvanish --help`."""
    spent: list[float] = []
    for _ in range(runs):
        before = os.times()
        subprocess.run([sys.executable, "-m", "unvanish", "--help"], capture_output=True, check=True)
        after = os.times()
        spent.append(after.children_user - before.children_user + after.children_system - before.children_system)
    return statistics.median(spent)
