"""Waits until the other processes of a run have completed their records."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import psutil

from unvanish.errors import RecordError
from unvanish.record.ranks.process import TrainingProcess
from unvanish.record.storage.journal import load
from unvanish.record.storage.run_folder import rank_files

POLL_S = 0.05
MAX_WAIT_S = 10.0  # for processes that have nothing left to do but to end; one that trains on is reported as far as it is
SAME_START_S = 1.0  # two processes of one number that started so near each other are one


def wait_for_records(folder: Path, *, seconds: float = MAX_WAIT_S) -> None:
    """Returns once every record in the folder is complete, or its process gone, after at most `seconds`."""
    deadline, pending = time.monotonic() + seconds, rank_files(folder)
    while pending := [path for path in pending if _is_in_progress(path)]:
        if time.monotonic() >= deadline:
            return
        time.sleep(POLL_S)


def _is_in_progress(path: Path) -> bool:
    try:
        facts = load(path).facts
    except RecordError:
        return False
    return facts.ending == "running" and facts.process is not None and _is_alive(facts.process)


def _is_alive(process: TrainingProcess) -> bool:
    if process.host != platform.node():
        return False
    try:
        running = psutil.Process(process.process_id)
        return abs(running.create_time() - process.started) < SAME_START_S and running.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
