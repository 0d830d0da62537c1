"""Where a trial waits: after the step that it was told to reach, until it is told how far to go on. It decides nothing itself.

Goals come through a pipe, one a line: the number of a step, or "end". Where the pipe ends, whoever raced this trial is gone,
and the trial with it.
"""

from __future__ import annotations

import os

END = "end"
ABANDONED = 3  # exit code of a trial whose race is gone


def spelt(goal: int | None) -> bytes:
    """A goal as a line for the pipe. None stands for the script's own end."""
    return f"{END if goal is None else goal}\n".encode()


class Gate:
    """Reader of the goals. `goal` is the step to reach, None for the script's own end. Without a pipe there is none to wait for."""

    def __init__(self, pipe: int | None) -> None:
        self._pipe = pipe
        self.goal: int | None = None
        if pipe is not None:
            self.wait()

    def closed_at(self, step: int) -> bool:
        """Whether a trial that has made this step has to wait."""
        return self.goal is not None and step >= self.goal

    def wait(self) -> None:
        """Waits for the next goal. A trial whose race is gone ends here."""
        line = b""
        while not line.endswith(b"\n"):
            read = os.read(self._pipe, 1) if self._pipe is not None else b""
            if not read:
                os._exit(ABANDONED)  # nobody is left to tell, and the script's own `except` must not stop this
            line += read
        text = line.decode().strip()
        self.goal = None if text == END else int(text)
