"""The small file in which a trial says how far it is, written by its process and read by whoever runs it."""

from __future__ import annotations

import math
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

KILOBYTE = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss


@dataclass(frozen=True, slots=True)
class TrialProgress:
    """The last step, its loss, whether the trial waits there, the peak of its process's memory so far, and the threads that it
    computes with (0: not known yet)."""

    step: int = 0
    loss: float = math.nan
    paused: bool = False
    memory_bytes: int = 0
    threads: int = 0


def write_progress(path: Path, *, step: int, loss: float, paused: bool, threads: int) -> None:
    """Replaces the file as a whole, so that a reader never meets half a line."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTE
    draft = path.with_suffix(".draft")
    draft.write_text(f"{step} {loss!r} {int(paused)} {memory} {threads}\n", encoding="utf-8")
    draft.replace(path)


def read_progress(path: Path) -> TrialProgress | None:
    """What the file says, None where there is none yet."""
    try:
        step, loss, paused, memory, threads = path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return None
    return TrialProgress(int(step), float(loss), bool(int(paused)), int(memory), int(threads))
