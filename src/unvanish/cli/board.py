"""The board of a race: one bar for the script as it is, then one for each candidate, moved by what its trials tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

    from unvanish.trials import News


@final
class Board:
    """Owner of the bars while a race runs; a context manager."""

    def __init__(self, console: Console, *, seeds: int) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<26}"),
            BarColumn(bar_width=18),
            TextColumn("{task.fields[news]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._seeds = seeds
        self._tasks: dict[str, TaskID] = {}
        self._ended: dict[str, set[int]] = {}

    def __enter__(self) -> Board:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()

    def show(self, news: News) -> None:
        """Takes in what is known of one trial."""
        watching = news.total == 1
        name = "watching it as it is" if watching else news.trial.name
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=1 if watching else self._seeds, news="")
        ended = self._ended.setdefault(name, set())
        if news.result is not None:
            ended.add(news.trial.seed)
        told = f"seed {news.trial.seed}  step {news.step}  loss {news.loss:.3f}"
        self._bars.update(self._tasks[name], completed=len(ended), news=told)
