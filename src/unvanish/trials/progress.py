"""The progress file of a trial: its last step, loss and memory, written by its process and read by the engine that runs it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from unvanish.trials.peak_memory import peak_memory_bytes


@dataclass(frozen=True, slots=True)
class TrialProgress:
    """How far a trial is.

    Arguments:
        step: its last training step, 0 before the first.
        loss: the loss of that step, NaN before the first.
        is_paused: whether it waits at its goal.
        memory_bytes: largest resident memory of its process so far.
        threads: number of threads that it computes with, 0 while unknown.
    """

    step: int = 0
    loss: float = math.nan
    is_paused: bool = False
    memory_bytes: int = 0
    threads: int = 0


def write_progress(path: Path, *, step: int, loss: float, is_paused: bool, threads: int) -> None:
    """Writes the progress of this process; the file is replaced as a whole, so that no reader gets half a line."""
    draft = path.with_suffix(".draft")
    draft.write_text(f"{step} {loss!r} {int(is_paused)} {peak_memory_bytes()} {threads}\n", encoding="utf-8")
    draft.replace(path)


def read_progress(path: Path) -> TrialProgress | None:
    """The progress in the file, None where there is no file yet."""
    try:
        step, loss, is_paused, memory, threads = path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return None
    return TrialProgress(int(step), float(loss), bool(int(is_paused)), int(memory), int(threads))
