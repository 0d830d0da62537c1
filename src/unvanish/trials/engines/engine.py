"""The interface of an engine, which runs trials side by side: Engine, the options it is opened with, and how plugins offer one.

A race asks for rounds. In each, some trials start or continue, up to a step or to their end; the results come back when all of them
have paused or ended. So that nothing is trained twice, a paused trial waits in its process for the next round.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from unvanish.record.races.verdict import TrialResult
from unvanish.trials.trial import Trial, TrialEvent
from unvanish.trials.trial_result import Examine

Goal = tuple[Trial, int | None]
"""A trial, and the training step that it is to reach; None stands for its own end."""


class Engine(ABC):
    """Runs trials, and owns those under way.

    Life cycle: an engine is opened by `EngineKind.engage`, gets any number of `advance` and `stop` calls from one thread, and is
    closed once. As a context manager it closes itself. A trial is new, then running, then paused at a goal (and running again in a
    later round) or ended; `stop` ends a paused one. Equal trials are the same trial.

    Every trial is to run as `unvanish.trials.process.TrialProcess` runs it: the worker, its folder, and the goals through a pipe.
    `unvanish.trials.trial_result.read_result` then reads its result.

    Example: an engine that runs one trial after another.
        >>> import tempfile, time
        >>> from pathlib import Path
        >>> from unvanish.record.races.candidate import CONTROL
        >>> from unvanish.trials import Script
        >>> from unvanish.trials.process import TrialProcess
        >>> from unvanish.trials.trial_result import read_result
        >>> class SequentialEngine(Engine):
        ...     name, capacity = "sequential", 1
        ...
        ...     def __init__(self, options):
        ...         self._options, self._paused = options, {}
        ...
        ...     def advance(self, goals):
        ...         return [self._run(trial, goal) for trial, goal in goals]
        ...
        ...     def stop(self, trials):
        ...         for trial in trials:
        ...             if trial in self._paused:
        ...                 self._paused.pop(trial).kill()
        ...
        ...     def close(self):
        ...         self.stop(list(self._paused))
        ...
        ...     def _run(self, trial, goal):
        ...         process = self._paused.pop(trial, None)
        ...         if process is None:
        ...             process = TrialProcess(trial, goal)
        ...         else:
        ...             process.resume(goal)
        ...         while process.exit_code is None and not process.is_paused:
        ...             time.sleep(0.02)
        ...             process.poll()
        ...         if process.is_paused:
        ...             self._paused[trial] = process
        ...         memory, examine = process.progress.memory_bytes, self._options.examine
        ...         return read_result(trial, exit_code=process.exit_code, memory_bytes=memory, examine=examine)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     script = Path(folder, "train.py")
        ...     _ = script.write_text("print('no training here')")
        ...     with SequentialEngine(EngineOptions(examine=lambda run: [])) as engine:
        ...         (result,) = engine.advance([(Trial(Script(script), CONTROL, 0, Path(folder, "trial")), None)])
        >>> result.failure
        'the script ended before it imported torch'
    """

    name: str
    """The name by which people choose it: "local", "ray"."""

    @property
    @abstractmethod
    def capacity(self) -> int:
        """How many trials run at a time, at least 1. It may change between rounds."""

    @abstractmethod
    def advance(self, goals: Sequence[Goal]) -> list[TrialResult]:
        """Runs trials until each has reached its goal or ended.

        Arguments:
            goals: the trials, each at most once, with the step that each is to reach. A trial that is new is started, a paused one
                continues; one whose process was lost starts anew, which gives the same losses.

        Returns the results as they stand then, in the order of `goals`. Those that are `paused` can be advanced again. What goes
        wrong in a trial is in the `failure` of its result, not raised. There are fewer results than goals only after Ctrl-C or the
        deadline; then nothing runs any more.

        Raises TrialError where a trial cannot be set up, and KeyboardInterrupt on Ctrl-C before the first result.
        """

    @abstractmethod
    def stop(self, trials: Sequence[Trial]) -> None:
        """Ends paused trials, whose last results stay valid. Trials that are not paused here are ignored."""

    @abstractmethod
    def close(self) -> None:
        """Ends all trials and gives back what the engine holds. Calling it again does nothing more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What an engine is opened with.

    Arguments:
        examine: gives the findings of a trial's run, once the trial has ended.
        jobs: how many trials run at a time; None leaves it to the engine.
        on_event: called with an event whenever a trial starts, pauses, ends or is stopped, and now and then while it runs.
        deadline: a time of `time.monotonic` after which no trial continues.
        address: where a cluster is, for engines that have one.
    """

    examine: Examine
    jobs: int | None = None
    on_event: Callable[[TrialEvent], None] | None = None
    deadline: float = math.inf
    address: str | None = None


@dataclass(frozen=True, slots=True)
class EngineKind:
    """An engine that can be chosen by name; plugins offer one under the entry point group "unvanish.engines".

    Arguments:
        name: in kebab-case, given as `--engine NAME`.
        summary: one line that says what it does.
        engage: opens the engine. Raises UsageError where it cannot be opened, with what to install or to start.

    Example:
        >>> EngineKind("sequential", "one trial after another in this process", lambda options: SequentialEngine(options)).name
        'sequential'
    """

    name: str
    summary: str
    engage: Callable[[EngineOptions], Engine]
