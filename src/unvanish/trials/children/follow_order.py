"""What a process that a watched script started is told: which run it belongs to, and how it is to be watched."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from unvanish.record.storage.serialisation import from_plain, to_plain

STARTUP_FOLDER = Path(__file__).parent / "startup"  # holds the `sitecustomize` that Python runs at its start
FOLLOW = "UNVANISH_FOLLOW"  # the variable that holds the order; `sitecustomize` repeats the name


@dataclass(frozen=True, slots=True)
class FollowOrder:
    """An order to follow.

    Arguments:
        folder: the run's folder.
        script, arguments: what the run runs, as people call it.
        budget, every, max_steps: how each process is observed, as in `observe.Settings`.
        prefix: the environment of Python in which the run takes place; other ones are left alone.
    """

    folder: str
    script: str
    arguments: tuple[str, ...] = ()
    budget: float = 0.01
    every: int | None = None
    max_steps: int | None = None
    prefix: str = sys.prefix

    def encode(self) -> str:
        """The order as text without line breaks.

        Example:
            >>> FollowOrder.decode(FollowOrder("/runs/1", "train.py").encode()).script
            'train.py'
        """
        return json.dumps(to_plain(self))

    @staticmethod
    def decode(text: str) -> FollowOrder:
        """The order that `encode` wrote. Raises RecordError or ValueError for any other text."""
        return from_plain(FollowOrder, json.loads(text))
