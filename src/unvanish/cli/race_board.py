"""What is shown while a race runs: a table that rewrites itself, a plain log where there is no terminal for it, or nothing."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self, final

from unvanish.cli.race_progress import RaceProgress, called, state_of
from unvanish.report.wording import numbers

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

    from unvanish.record.race_plan import PlannedPart
    from unvanish.report.terminal.live_race import LiveRace
    from unvanish.trials.trial import TrialEvent

Clock = Callable[[], float]
REFRESHES_PER_S = 4


class Display(ABC):
    """A context manager that is told how a race goes."""

    @abstractmethod
    def stage(self, text: str, goals: int) -> None:
        """A part of the race begins, with so many trials."""

    @abstractmethod
    def expect(self, parts: Sequence[PlannedPart]) -> None:
        """Tells the parts that are to come after the one that runs now, as far as they are known."""

    @abstractmethod
    def show(self, news: TrialEvent) -> None:
        """Takes in what is known of one trial."""

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None: ...


def display(console: Console, *, quiet: bool = False) -> Display:
    """The board in a terminal that can rewrite lines and may be coloured, else the log; silence where nothing is to be said."""
    if quiet:
        return Silence()
    return RaceBoard(console) if console.is_terminal and not console.is_dumb_terminal and not console.no_color else Log(console)


@final
class RaceBoard(Display):
    """Owner of the table, which leaves the terminal when the race is over."""

    def __init__(self, console: Console, *, clock: Clock = time.monotonic) -> None:
        from rich.live import Live

        self._standings = RaceProgress(clock)
        self._live = Live(get_renderable=self._drawn, console=console, refresh_per_second=REFRESHES_PER_S, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def stage(self, text: str, goals: int) -> None:
        self._standings.stage(text, goals)

    def expect(self, parts: Sequence[PlannedPart]) -> None:
        self._standings.expect(parts)

    def show(self, news: TrialEvent) -> None:
        self._standings.take(news)

    def _drawn(self) -> LiveRace:
        from unvanish.report.terminal.live_race import LiveRace

        return LiveRace(self._standings.part, self._standings.rows(), self._standings.foot())


@final
class Log(Display):
    """One line for each part of the race, and for each trial that waits, has ended or was stopped."""

    def __init__(self, console: Console, *, clock: Clock = time.monotonic) -> None:
        self._console, self._clock, self._began_s = console, clock, clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing is left to be done."""

    def stage(self, text: str, goals: int) -> None:
        self._say(f"{text} ({numbers.plural(goals, 'trial')})")

    def expect(self, parts: Sequence[PlannedPart]) -> None:
        """A log says what was, not what will be."""

    def show(self, news: TrialEvent) -> None:
        if news.state == "running":
            return
        seed = f", seed {news.trial.seed}" if news.trial.seed else ""
        state = state_of(news)
        if state in ("ended", "stopped"):
            state += f" at step {news.step:,}"
        loss = f", loss {numbers.figure(news.loss, 4)}" if news.result is not None and news.step else ""
        self._say(f"  {called(news.trial)}{seed}: {state}{loss}")

    def _say(self, text: str) -> None:
        spent = numbers.duration(self._clock() - self._began_s)
        self._console.print(f"{spent:>12}  {text}", markup=False, highlight=False, soft_wrap=True)


@final
class Silence(Display):
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing is left to be done."""

    def stage(self, text: str, goals: int) -> None:
        """Nothing is shown."""

    def expect(self, parts: Sequence[PlannedPart]) -> None:
        """Nothing is shown."""

    def show(self, news: TrialEvent) -> None:
        """Nothing is shown."""
