"""Shows the progress of a demo: bars for all and for each training that runs; without a terminal, a line each tenth."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from unvanish.demos.demo import Training, TrainingProgress

MINUTES_FROM_S = 90.0
SETTLED_S = 3.0  # before that, an estimate of the time left is a guess


class DemoBoard:
    """The bars while a demo runs; the time left is estimated from the trainings' relative costs."""

    def __init__(self, console: Console, trainings: Sequence[Training]) -> None:
        self._console = console
        self._costs = {training: training.relative_cost for training in trainings}
        self._done: dict[Training, float] = {}
        self._ended = self._tenths = 0
        self._began = time.monotonic()
        self._bars = _bars(console)
        self._all = self._bars.add_task("all", total=1.0, status="")
        self._lines: dict[Training, TaskID] = {}

    def __enter__(self) -> DemoBoard:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def show(self, progress: TrainingProgress) -> None:
        """Updates the bars with the progress of one training."""
        share = 1.0 if progress.result is not None else progress.step / max(progress.planned_steps, 1)
        self._done[progress.training] = share
        self._ended += progress.result is not None
        status = f"step {progress.step:,}/{progress.planned_steps:,}" + (
            f"  loss {progress.loss:.3f}" if math.isfinite(progress.loss) else ""
        )
        if progress.result is not None:
            self._end(progress)
        else:
            if progress.training not in self._lines:
                name = f"{progress.training.label}, seed {progress.training.seed}"
                self._lines[progress.training] = self._bars.add_task(name, total=1.0, status="")
            self._bars.update(self._lines[progress.training], completed=share, status=status)
        done = sum(self._costs[t] * part for t, part in self._done.items()) / sum(self._costs.values())
        summary = f"{self._ended} of {len(self._costs)} trainings{self._time_left(done)}"
        self._bars.update(self._all, completed=done, status=summary)
        if not self._console.is_terminal and int(10 * done) > self._tenths:
            self._tenths = int(10 * done)
            self._console.print(f"{10 * self._tenths:3d} %  {summary}")

    def _end(self, progress: TrainingProgress) -> None:
        line = self._lines.pop(progress.training, None)
        if line is not None:
            self._bars.remove_task(line)

    def _time_left(self, done: float) -> str:
        """The time left, by the share of the work that is done."""
        spent = time.monotonic() - self._began
        if spent < SETTLED_S or done <= 0 or done >= 1:
            return ""
        left = spent * (1 - done) / done
        return f", {left:.0f} s left" if left < MINUTES_FROM_S else f", about {left / 60:.0f} min left"


def _bars(console: Console) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[status]}", table_column=Column(no_wrap=True)),
    )
    return Progress(*columns, console=console, transient=True, expand=True)
