"""Watches one process that a watched script started: it waits for a training, and what it sees of it goes to the run's folder.

It prints nothing, and no fault of it reaches the script."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from unvanish.monkey_patch import CallablePatch
from unvanish.observe import Observer, Progress, Settings, collect_facts
from unvanish.trials.children.describe_process import describe_process
from unvanish.trials.children.follow_order import FollowOrder
from unvanish.trials.children.process_journal import ProcessJournal
from unvanish.trials.children.trial_leader import TrialLeader
from unvanish.trials.metrics.reported_metrics import watching_metrics
from unvanish.trials.script.execution import ScriptExit
from unvanish.trials.script.process_exit import intercept_os_exit

if TYPE_CHECKING:
    from unvanish.observe.structure.model_index import ModelIndex


@final
class WatchedProcess:
    """The observation of this process, from `attach` to its end.

    Arguments:
        order: which run it belongs to.
        model_index: what a process that was forked has from the one that it was forked from.
    """

    def __init__(self, order: FollowOrder, model_index: ModelIndex | None = None) -> None:
        self._order, self._process_id, self._is_closed = order, os.getpid(), False
        self._journal = ProcessJournal(Path(order.folder), self._collect_facts, describe_process)
        self._hearing, self._exits = ExitStack(), ExitStack()
        self._trial = TrialLeader(Path(order.trial)) if order.trial else None
        self.observer = Observer(
            self._journal,
            self._collect_facts(),
            settings=Settings(order.budget, order.every, is_one_of_many=True),
            gate=self._after_step,
            on_progress=self._trial.write_progress if self._trial is not None else None,
            examine=self._trial.examine if self._trial is not None else None,
            model_index=model_index,
            waits_for_training=True,
        )

    def attach(self) -> None:
        """Begins to wait for a training."""
        self.observer.attach()
        self._exits.enter_context(intercept_os_exit(self._close_with_code))
        atexit.register(self.close)
        bootstrap: Any = getattr(sys.modules.get("multiprocessing.process"), "BaseProcess", None)
        if bootstrap is not None:
            self._exits.enter_context(CallablePatch(bootstrap, "_bootstrap", self._run_multiprocessing))

    def release(self) -> ModelIndex:
        """What is known of the networks. Withdraws everything, in a process forked from this one: the journal is not its own."""
        atexit.unregister(self.close)
        self._hearing.close()
        self._exits.close()
        self.observer.release()
        return self.observer.model_index

    def close(self, ending: str = "") -> None:
        """Completes the record, once."""
        if self._is_closed or os.getpid() != self._process_id:
            return
        self._is_closed = True
        with suppress(Exception):
            self._hearing.close()
            self.observer.close(ending or _ending())
            self._journal.close()

    def _run_multiprocessing(self, original: Callable[..., int], /, *args: Any, **kwargs: Any) -> int:
        code = original(*args, **kwargs)
        self._close_with_code(code)
        return code

    def _close_with_code(self, code: int) -> None:
        self.close(ScriptExit(code, "exited").ending)

    def _after_step(self, progress: Progress) -> None:
        if progress.step == 1:
            with suppress(Exception):
                self._hear_metrics()
        if self._trial is not None and progress.step in (1, self._order.max_steps):
            self._trial.write_progress(progress)
        if progress.step == self._order.max_steps:
            raise SystemExit(0)

    def _hear_metrics(self) -> None:
        """Records from now on what the process prints or gives to a tracker."""
        self._hearing.enter_context(watching_metrics(self.observer.record_metrics))

    def _collect_facts(self) -> Any:
        return collect_facts(self._order.script, self._order.arguments)


def _ending() -> str:
    """How a program that comes to its end has ended: the interpreter keeps the exception that it has printed."""
    kind = getattr(sys, "last_type", None)
    return "finished" if kind is None else kind.__name__
