"""Runs the trainings of a demo, in this process or in several worker processes, and collects their results.

Every training gets one thread: small deep networks are many times slower with two. Ctrl-C ends each running training at one of its
next steps; its result so far is kept.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.managers import SyncManager
from queue import Queue
from threading import Event

import torch

from unvanish.demos.demo import ProgressCallback, StepCallback, Training, TrainingProgress, TrainingResults
from unvanish.demos.interrupt import interrupt_requested, sigint_ignored
from unvanish.record.demo_result import TrainingEnding, TrainingResult

MESSAGE_INTERVAL_S = 0.1  # between two messages of a worker; nobody reads a screen faster
POLL_INTERVAL_S = 0.1  # between two looks at messages and Ctrl-C
STOP_TIMEOUT_S = 60.0  # for a training to reach its next step once it was asked to stop
TERMINATE_TIMEOUT_S = 5.0  # for the same where something failed or Ctrl-C came twice
START_METHOD = "spawn"  # a fork of a process that has used torch may hang


def run_all(trainings: Sequence[Training], *, jobs: int, progress: ProgressCallback) -> TrainingResults:
    """The result of every training that was started, in the order given. `jobs` processes share them, the longest first.

    A training that fails has a result with its error. After Ctrl-C the results so far come back, also of trainings cut short.
    """
    longest_first = sorted(trainings, key=lambda training: -training.relative_cost)
    with interrupt_requested() as is_interrupted:
        if min(jobs, len(trainings)) < 2:
            results = _run_in_this_process(longest_first, progress, is_interrupted)
        else:
            with _start_manager() as manager:
                results = _WorkerPool(manager, longest_first, progress).run(min(jobs, len(trainings)), is_interrupted)
    return {training: results[training] for training in trainings if training in results}


def run_training(training: Training, on_step: StepCallback) -> TrainingResult:
    """The result of one training in this process, timed; an exception is recorded in it. torch's random state is restored."""
    start = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        try:
            result = training.run(on_step)
        except Exception as error:
            result = TrainingResult(TrainingEnding.FAILED, error=f"{type(error).__name__}: {error}")
    return replace(result, seconds=time.perf_counter() - start)


@contextmanager
def one_thread() -> Generator[None]:
    """One thread for torch in the block, and as many as before after it."""
    thread_count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(thread_count)


def _run_in_this_process(
    trainings: Sequence[Training], progress: ProgressCallback, is_interrupted: Callable[[], bool]
) -> TrainingResults:
    results: TrainingResults = {}
    with one_thread():
        for training in trainings:
            if is_interrupted():
                break

            def on_step(step: int, planned_steps: int, loss: float, training: Training = training) -> bool:
                progress(TrainingProgress(training, step, planned_steps, loss))
                return not is_interrupted()

            results[training] = result = run_training(training, on_step)
            progress(_final_progress(training, result))
    return results


def _final_progress(training: Training, result: TrainingResult) -> TrainingProgress:
    loss = result.history[-1].loss if result.history else math.nan
    return TrainingProgress(training, result.steps, result.planned_steps, loss, result)


class _WorkerPool:
    """Owner of the worker processes while they work through a list of trainings.

    A process that dies breaks every running task of its `ProcessPoolExecutor`, so each worker has an executor of its own. The
    messages of the workers and the request to stop go through a manager's process, where a dead worker leaves no lock behind.
    """

    def __init__(self, manager: SyncManager, trainings: Sequence[Training], progress: ProgressCallback) -> None:
        self._messages: Queue[TrainingProgress] = manager.Queue()
        self._stop = manager.Event()
        self._waiting = deque(trainings)
        self._progress = progress
        self._running: dict[Future[TrainingResult], tuple[_Worker, Training]] = {}
        self._results: TrainingResults = {}

    def run(self, jobs: int, is_interrupted: Callable[[], bool]) -> TrainingResults:
        """The results of all trainings, or of those started until `is_interrupted`."""
        try:
            for _ in range(jobs):
                self._start_next(_Worker())
            while self._running and not is_interrupted():
                self._collect()
            if self._running:
                self._stop_all()
        finally:
            self._stop.set()
            wait(self._running, TERMINATE_TIMEOUT_S)
            for future, (worker, _) in self._running.items():
                if not future.done():
                    worker.terminate()
                worker.close()
        return self._results

    def _start_next(self, worker: _Worker) -> None:
        training = self._waiting.popleft()
        self._running[worker.submit(training, self._messages, self._stop)] = (worker, training)

    def _collect(self) -> None:
        """Passes on messages, and takes in the results of trainings that ended."""
        ended, _ = wait(self._running, POLL_INTERVAL_S, FIRST_COMPLETED)
        while not self._messages.empty():
            self._progress(self._messages.get())
        for future in ended:
            self._take_result(future)

    def _take_result(self, future: Future[TrainingResult]) -> None:
        """Stores a result and gives its worker the next training; a worker that died, usually of memory, is replaced."""
        worker, training = self._running.pop(future)
        has_died = isinstance(future.exception(), BrokenProcessPool)
        if has_died:
            error = f"its process died (exit code {worker.close()}); is there enough memory?"
            result = TrainingResult(TrainingEnding.FAILED, error=error)
        else:
            result = future.result()
        self._results[training] = result
        if self._waiting:
            self._start_next(_Worker() if has_died else worker)
        elif not has_died:
            worker.close()
        self._progress(_final_progress(training, result))

    def _stop_all(self) -> None:
        """Asks the running trainings to stop, and takes in their results."""
        self._waiting.clear()
        self._stop.set()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self._running and time.monotonic() < deadline:
            self._collect()


class _Worker:
    """Owner of an executor with one process."""

    def __init__(self) -> None:
        self._executor = ProcessPoolExecutor(1, multiprocessing.get_context(START_METHOD))
        other_processes = set(multiprocessing.active_children())
        with sigint_ignored():
            self._executor.submit(prepare_worker)  # starts the process
        (self._process,) = set(multiprocessing.active_children()) - other_processes

    def submit(self, training: Training, messages: Queue[TrainingProgress], stop: Event) -> Future[TrainingResult]:
        """The future result of a training in the process."""
        return self._executor.submit(train_in_worker, training, messages, stop)

    def terminate(self) -> None:
        """Kills the process."""
        self._process.terminate()

    def close(self) -> int | None:
        """The exit code of the process, after its end."""
        self._executor.shutdown()
        return self._process.exitcode


@contextmanager
def _start_manager() -> Generator[SyncManager]:
    manager = SyncManager(ctx=multiprocessing.get_context(START_METHOD))
    with sigint_ignored():
        manager.start(exit_with_parent)
    with manager:
        yield manager


def prepare_worker() -> None:
    """Gives torch one thread in this worker process, which ends with its parent."""
    exit_with_parent()
    torch.set_num_threads(1)


def exit_with_parent() -> None:
    """Ends this process as soon as its parent is gone, also where the parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only processes that multiprocessing started have a parent"

    def wait_for_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_for_parent, daemon=True).start()


def train_in_worker(training: Training, messages: Queue[TrainingProgress], stop: Event) -> TrainingResult:
    """The result of a training in a worker process. Puts its progress into `messages`, and ends early once `stop` is set."""
    last_message_s = -math.inf
    continues = True

    def on_step(step: int, planned_steps: int, loss: float) -> bool:
        nonlocal last_message_s, continues
        now_s = time.monotonic()
        if now_s - last_message_s >= MESSAGE_INTERVAL_S or step == planned_steps:
            last_message_s = now_s
            messages.put(TrainingProgress(training, step, planned_steps, loss))
            continues = not stop.is_set()
        return continues

    return run_training(training, on_step)
