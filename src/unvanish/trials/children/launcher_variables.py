"""Reads the variables by which a launcher tells a process which of several it is."""

from __future__ import annotations

import os
from collections.abc import Mapping


def launched_rank(environment: Mapping[str, str] = os.environ) -> tuple[int, int] | None:
    """Rank and number of processes, as a launcher such as torchrun puts them into the environment; None without one.

    Example:
        >>> launched_rank({"RANK": "0", "WORLD_SIZE": "1"}), launched_rank({})
        ((0, 1), None)
    """
    rank, world_size = environment.get("RANK", ""), environment.get("WORLD_SIZE", "")
    return (int(rank), int(world_size)) if rank.isdecimal() and world_size.isdecimal() else None
