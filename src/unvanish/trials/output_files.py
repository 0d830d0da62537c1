"""Keeps what a trial prints from filling the disk: of a file that grows too large, the end is put aside and the rest is dropped.

The file has to be open for appending in the process that writes it, so that it goes on at the new end.
"""

from __future__ import annotations

import os
from pathlib import Path

LARGEST = 64 * 2**20  # bytes of one file of output
KEPT = 1_000_000  # bytes of its end that are put aside


def curb(path: Path, *, largest: int = LARGEST) -> None:
    """Cuts a file of output that has grown larger than `largest`. What is written in that very moment is lost."""
    if path.stat().st_size > largest:
        _aside(path).write_bytes(_tail(path, KEPT))
        os.truncate(path, 0)


def end_of(path: Path) -> str:
    """The end of what was printed to a file, as text: its last KEPT bytes, or somewhat more where it was cut."""
    earlier = _tail(_aside(path), KEPT) if _aside(path).is_file() else b""
    return (earlier + _tail(path, KEPT)).decode(errors="replace")


def _tail(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - count))
        return file.read()


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.earlier")
