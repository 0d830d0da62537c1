"""What a process that a watched script started is told: which run it belongs to, and how it is to be watched."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from unvanish.record.storage.serialisation import from_plain, to_plain

STARTUP_FOLDER = Path(__file__).parent / "startup"  # holds the `sitecustomize` that Python runs at its start
RUN, TRIAL = "run", "trial"
FOLLOW = "UNVANISH_FOLLOW"  # the variable that holds the order; `sitecustomize` repeats the name


@dataclass(frozen=True, slots=True)
class FollowOrder:
    """An order to follow.

    Arguments:
        folder: the run's folder.
        script, arguments: what the run runs, as people call it.
        budget, every, max_steps: how each process is observed, as in `observe.Settings`.
        trial: the folder of the trial that the run is; "" where it is none.
        prefix: the environment of Python in which the run takes place; other ones are left alone.
    """

    folder: str
    script: str
    arguments: tuple[str, ...] = ()
    budget: float = 0.01
    every: int | None = None
    max_steps: int | None = None
    trial: str = ""
    prefix: str = sys.prefix

    def encode(self) -> str:
        """The order as text without line breaks; its first word says whether anything is to be done before torch is imported.

        Example:
            >>> FollowOrder.decode(FollowOrder("/runs/1", "train.py").encode()).script
            'train.py'
        """
        return f"{TRIAL if self.trial else RUN} {json.dumps(to_plain(self))}"

    @staticmethod
    def decode(text: str) -> FollowOrder:
        """The order that `encode` wrote. Raises RecordError or ValueError for any other text."""
        return from_plain(FollowOrder, json.loads(text.partition(" ")[2]))
