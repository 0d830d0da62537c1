"""The progress of a demo: bars for the whole and for each training under way; where there is no terminal, a line each tenth."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from unvanish.demos.demo import News, Training

MINUTES_FROM_S = 90.0
SETTLED_S = 3.0  # before that, an estimate of the time left is a guess


class DemoBoard:
    """Owner of the bars while a demo runs. `show` takes in the news; the time left comes from the trainings' own effort."""

    def __init__(self, console: Console, trainings: Sequence[Training]) -> None:
        self._console = console
        self._effort = {training: training.effort for training in trainings}
        self._done: dict[Training, float] = {}
        self._ended = self._tenths = 0
        self._began = time.monotonic()
        self._bars = _bars(console)
        self._whole = self._bars.add_task("all", total=1.0, news="")
        self._lines: dict[Training, TaskID] = {}

    def __enter__(self) -> DemoBoard:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def show(self, news: News) -> None:
        """Takes in how far one training is."""
        share = 1.0 if news.course is not None else news.step / max(news.planned, 1)
        self._done[news.training] = share
        self._ended += news.course is not None
        told = f"step {news.step:,}/{news.planned:,}" + (f"  loss {news.loss:.3f}" if math.isfinite(news.loss) else "")
        if news.course is not None:
            self._end(news)
        else:
            if news.training not in self._lines:
                name = f"{news.training.label}, seed {news.training.seed}"
                self._lines[news.training] = self._bars.add_task(name, total=1.0, news="")
            self._bars.update(self._lines[news.training], completed=share, news=told)
        whole = sum(self._effort[t] * done for t, done in self._done.items()) / sum(self._effort.values())
        counted = f"{self._ended} of {len(self._effort)} trainings{self._left(whole)}"
        self._bars.update(self._whole, completed=whole, news=counted)
        if not self._console.is_terminal and int(10 * whole) > self._tenths:
            self._tenths = int(10 * whole)
            self._console.print(f"{10 * self._tenths:3d} %  {counted}")

    def _end(self, news: News) -> None:
        line = self._lines.pop(news.training, None)
        if line is not None:
            self._bars.remove_task(line)

    def _left(self, whole: float) -> str:
        """The time left, by the share of the effort that is done."""
        spent = time.monotonic() - self._began
        if spent < SETTLED_S or whole <= 0 or whole >= 1:
            return ""
        left = spent * (1 - whole) / whole
        return f", {left:.0f} s left" if left < MINUTES_FROM_S else f", about {left / 60:.0f} min left"


def _bars(console: Console) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    columns = (
        TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[news]}", table_column=Column(no_wrap=True)),
    )
    return Progress(*columns, console=console, transient=True, expand=True)
