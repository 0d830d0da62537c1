"""Shows a race while it runs: a table that rewrites itself, a plain log where there is no terminal for it, or nothing."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self, final

from unvanish.cli.race_progress import RaceProgress, candidate_of, describe_state
from unvanish.report.wording import numbers

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

    from unvanish.record.races.race_plan import PlannedPart, RacePart
    from unvanish.report.terminal.live_race import LiveRace
    from unvanish.trials.trial import TrialEvent

Clock = Callable[[], float]
REFRESHES_PER_S = 4


class RaceDisplay(ABC):
    """A context manager whose methods are the callbacks of a fix and of its engine."""

    @abstractmethod
    def on_part(self, part: RacePart) -> None:
        """A part of the race begins."""

    @abstractmethod
    def on_plan(self, parts: Sequence[PlannedPart]) -> None:
        """The parts that are to come after the one that runs now, as far as they are known."""

    @abstractmethod
    def on_event(self, event: TrialEvent) -> None:
        """Something happened in one trial."""

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None: ...


def race_display(console: Console, *, quiet: bool = False) -> RaceDisplay:
    """The board in a terminal that can rewrite lines and may be coloured, else the log; silence where nothing is to be said."""
    if quiet:
        return NoDisplay()
    return RaceBoard(console) if console.is_terminal and not console.is_dumb_terminal and not console.no_color else RaceLog(console)


@final
class RaceBoard(RaceDisplay):
    """A live table, which leaves the terminal when the race is over."""

    def __init__(self, console: Console, *, clock: Clock = time.monotonic) -> None:
        from rich.live import Live

        self._progress = RaceProgress(clock)
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=REFRESHES_PER_S, transient=True)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def on_part(self, part: RacePart) -> None:
        self._progress.on_part(part)

    def on_plan(self, parts: Sequence[PlannedPart]) -> None:
        self._progress.on_plan(parts)

    def on_event(self, event: TrialEvent) -> None:
        self._progress.on_event(event)

    def _render(self) -> LiveRace:
        from unvanish.report.terminal.live_race import LiveRace

        return LiveRace(self._progress.part, self._progress.rows(), self._progress.summary())


@final
class RaceLog(RaceDisplay):
    """One line for each part of the race, and for each trial that waits, has ended or was stopped."""

    def __init__(self, console: Console, *, clock: Clock = time.monotonic) -> None:
        self._console, self._clock, self._began_s = console, clock, clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing is left to be done."""

    def on_part(self, part: RacePart) -> None:
        self._print(f"{part.text} ({numbers.pluralise(part.trials, 'trial')})")

    def on_plan(self, parts: Sequence[PlannedPart]) -> None:
        """A log lists what was, not what will be."""

    def on_event(self, event: TrialEvent) -> None:
        if event.state == "running":
            return
        seed = f", seed {event.trial.seed}" if event.trial.seed else ""
        state = describe_state(event)
        if state in ("ended", "stopped"):
            state += f" at step {event.step:,}"
        loss = f", loss {numbers.format_number(event.loss, 4)}" if event.result is not None and event.step else ""
        self._print(f"  {candidate_of(event.trial)}{seed}: {state}{loss}")

    def _print(self, text: str) -> None:
        elapsed = numbers.format_duration(self._clock() - self._began_s)
        self._console.print(f"{elapsed:>12}  {text}", markup=False, highlight=False, soft_wrap=True)


@final
class NoDisplay(RaceDisplay):
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing is left to be done."""

    def on_part(self, part: RacePart) -> None:
        """Nothing is shown."""

    def on_plan(self, parts: Sequence[PlannedPart]) -> None:
        """Nothing is shown."""

    def on_event(self, event: TrialEvent) -> None:
        """Nothing is shown."""
