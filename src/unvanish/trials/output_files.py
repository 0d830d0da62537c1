"""Limits the size of the files that keep what a trial prints, and reads their last part.

The process that writes such a file has to have opened it for appending, so that it continues at the new end after a cut."""

from __future__ import annotations

import os
from pathlib import Path

MAX_BYTES = 64 * 2**20  # of one output file
TAIL_BYTES = 1_000_000  # kept of its end when it is cut


def limit_size(path: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Empties an output file that has more than `max_bytes`, and keeps its last part in a file beside it.

    What the script writes in the instant between the last read and the cut is lost.
    """
    if path.stat().st_size <= max_bytes:
        return
    with path.open("rb") as file, _kept_part(path).open("wb", buffering=0) as kept:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        for _ in range(2):  # the second time what was written while the first part was kept
            kept.write(file.read())
        os.truncate(path, 0)


def read_tail(path: Path) -> str:
    """The last part of what was printed to a file, as text: its last TAIL_BYTES bytes, up to twice as many where it was cut."""
    kept = _kept_part(path)
    earlier = _last_bytes(kept, TAIL_BYTES) if kept.is_file() else b""
    return (earlier + _last_bytes(path, TAIL_BYTES)).decode(errors="replace")


def _last_bytes(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - count))
        return file.read()


def _kept_part(path: Path) -> Path:
    return path.with_name(f"{path.name}.earlier")
