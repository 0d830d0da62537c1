"""Pauses a trial after the training step that is its goal, until the next goal arrives.

Goals come through a pipe, one a line: the number of a step, or "end". Where the pipe is closed, the race that started this trial is
gone, and the process ends."""

from __future__ import annotations

import os

END = "end"
ABANDONED_EXIT_CODE = 3  # of a trial whose race is gone


def encode_goal(goal: int | None) -> bytes:
    """A goal as a line for the pipe. None stands for the script's own end.

    Example:
        >>> encode_goal(100), encode_goal(None)
        (b'100\\n', b'end\\n')
    """
    return f"{END if goal is None else goal}\n".encode()


class StepGate:
    """Reader of the goals. `goal` is the step to reach, None for the script's own end, which is the only goal without a pipe."""

    def __init__(self, pipe: int | None) -> None:
        self._pipe = pipe
        self.goal: int | None = None
        if pipe is not None:
            self.wait_for_goal()

    def is_closed_at(self, step: int) -> bool:
        """Whether a trial that has made this step has to wait."""
        return self.goal is not None and step >= self.goal

    def wait_for_goal(self) -> None:
        """Waits for the next goal; ends the process where the race is gone."""
        line = b""
        while not line.endswith(b"\n"):
            byte = os.read(self._pipe, 1) if self._pipe is not None else b""
            if not byte:
                os._exit(ABANDONED_EXIT_CODE)  # the script's own `except` must not stop this
            line += byte
        text = line.decode().strip()
        self.goal = None if text == END else int(text)
