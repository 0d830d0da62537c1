"""Runs trials as actors on a Ray cluster, each with a process of its own on one of the nodes.

A running trial has a slot, which holds its CPUs and its GPU; a paused one has only its actor, whose process keeps its memory. A
trial that is lost with its node runs again from its start on another one, with the same seeds and therefore the same losses."""

from __future__ import annotations

import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from unvanish.errors import RecordError, TrialError
from unvanish.record.storage.file_names import RUN_FILE
from unvanish.record.storage.journal import load
from unvanish.trials.engines.engine import EngineOptions, Goal
from unvanish.trials.engines.local import EVENT_INTERVAL_S, GRACE_S
from unvanish.trials.engines.polling_engine import PollingEngine
from unvanish.trials.engines.ray_actor import ScriptEnvironment, TrialActor, TrialReport
from unvanish.trials.engines.ray_slots import ResourceSlot, ResourceSlots, format_ray_error
from unvanish.trials.progress import TrialProgress
from unvanish.trials.trial import JOB_FILE, STDERR_FILE, STDOUT_FILE, Trial, TrialState, save_job
from unvanish.trials.trial_result import read_result

MAX_RESTARTS = 3  # of one trial whose node or actor was lost
WAIT_S = 0.5  # for the next return of a Ray call
END_TIMEOUT_S = 5.0  # for an actor to end its trial, beyond the grace of the trial


@dataclass(slots=True, eq=False)
class RemoteTrial:
    """A trial with its actor, and the node and GPUs that it is bound to. `call` is the latest call of the actor; `slot` is None
    while the trial is paused."""

    trial: Trial
    actor: Any
    node_id: str
    devices: str
    goal: int | None
    slot: ResourceSlot | None
    call: Any
    progress: TrialProgress = field(default_factory=TrialProgress)


@final
class RayEngine(PollingEngine[RemoteTrial]):
    """Owner of the actors of a race and of their slots. `disconnect` is called by `close`, once nothing runs any more."""

    name = "ray"

    def __init__(self, options: EngineOptions, environment: ScriptEnvironment, *, disconnect: Callable[[], None]) -> None:
        super().__init__(on_event=options.on_event, deadline=options.deadline)
        self._examine, self._environment, self._disconnect = options.examine, environment, disconnect
        self._slots = ResourceSlots(environment.threads, max_slots=options.jobs)
        self._ending: list[tuple[Any, Any]] = []  # calls of `end`, and their actors
        self._losses: Counter[Trial] = Counter()  # how often each trial was lost
        self._largest_bytes = 0  # of a trial so far
        self._is_closed = False

    @property
    def capacity(self) -> int:
        """How many trials run at a time."""
        return self._slots.capacity

    def close(self) -> None:
        """Ends all trials, running ones by SIGTERM first, and the connection that was made for this engine."""
        if not self._is_closed:
            self._is_closed = True
            try:
                self._end_all()
            finally:
                self._disconnect()

    def _step(self, waiting: deque[Goal]) -> None:
        self._start_waiting(waiting)
        self._handle_returns(waiting)

    def _end_paused(self, handle: RemoteTrial) -> None:
        self._end(handle)

    def _start_waiting(self, waiting: deque[Goal]) -> None:
        """Requests slots, and gives those that are free to waiting trials."""
        # A paused trial continues where its process is, in this round or the next: a slot stays there.
        needed_nodes = {remote.node_id for remote in self._paused.values()}
        self._slots.request(len(waiting) + len(self._running), needed_nodes)
        for slot in self._slots.free:
            goal = next((goal for goal in waiting if self._can_use(goal[0], slot)), None)
            if goal is not None:
                waiting.remove(goal)
                self._start(*goal, slot)

    def _can_use(self, trial: Trial, slot: ResourceSlot) -> bool:
        """Whether a trial can run on a slot. One that is paused on another node can if it has no slot there."""
        node, paused = slot.node, self._paused.get(trial)
        if node is None:
            return False
        if paused is not None and self._slots.has_slot_on(paused.node_id):
            return (paused.node_id, paused.devices) == (node.node_id, node.devices)
        return self._has_memory(node.node_id)

    def _has_memory(self, node_id: str) -> bool:
        """Whether a node has memory for one more, freed if need be by ending a trial paused there; the first always has."""
        while True:
            on_node = [remote for remote in (*self._paused.values(), *self._running) if remote.node_id == node_id]
            used = sum(remote.progress.memory_bytes or self._largest_bytes for remote in on_node)
            if not on_node or used + self._largest_bytes <= self._slots.memory_bytes(node_id):
                return True
            longest_paused = next((remote for remote in on_node if remote.trial in self._paused), None)
            if longest_paused is None:
                return False
            self._end(self._paused.pop(longest_paused.trial))

    def _start(self, trial: Trial, goal: int | None, slot: ResourceSlot) -> None:
        remote = self._paused.pop(trial, None)
        if remote is not None and slot.node is not None and remote.node_id != slot.node.node_id:
            self._end(remote)
            remote = None
        remote = remote or self._create_actor(trial, slot)
        slot.is_taken = True
        remote.slot, remote.goal, remote.call = slot, goal, remote.actor.advance.remote(goal)
        self._running.append(remote)
        self._notify(remote, TrialState.RUNNING)

    def _create_actor(self, trial: Trial, slot: ResourceSlot) -> RemoteTrial:
        """A trial with an actor on the node of a slot."""
        assert slot.node is not None
        save_job(trial)
        environment = self._environment if trial.cwd is None else replace(self._environment, cwd=trial.cwd.resolve())
        on_node = NodeAffinitySchedulingStrategy(slot.node.node_id, soft=False)
        actor_class = ray.remote(num_cpus=0)(TrialActor).options(scheduling_strategy=on_node)
        actor = actor_class.remote(trial, environment, slot.node)
        return RemoteTrial(trial, actor, slot.node.node_id, slot.node.devices, None, slot, None)

    def _handle_returns(self, waiting: deque[Goal]) -> None:
        """Waits until a Ray call returns, and handles it."""
        trial_calls = {remote.call: remote for remote in self._running}
        pending = [*trial_calls, *self._slots.pending_calls]
        if not pending:
            time.sleep(WAIT_S)
            return
        left_s = max(0.0, self._deadline - time.monotonic())
        returned, _ = ray.wait(pending, timeout=min(WAIT_S, left_s))
        for call in returned:
            if call not in trial_calls:
                self._slots.on_reserved(call)
                continue
            try:
                self._on_report(trial_calls[call], ray.get(call))
            except RayTaskError as fault:
                raise TrialError(f"a trial cannot be run on a node of the Ray cluster: {format_ray_error(fault)}") from fault
            except RayError as fault:
                self._on_lost(trial_calls[call], fault, waiting)

    def _on_report(self, remote: RemoteTrial, report: TrialReport) -> None:
        """Handles an actor's report; a trial that still runs is polled again."""
        has_moved, remote.progress = report.progress.step != remote.progress.step, report.progress
        self._largest_bytes = max(self._largest_bytes, report.progress.memory_bytes)
        self._slots.threads = report.progress.threads or self._slots.threads
        if report.files is None:
            remote.call = remote.actor.poll.remote(EVENT_INTERVAL_S)
            if has_moved:
                self._notify(remote, TrialState.RUNNING)
            return
        self._release_slot(remote)
        _write_files(report.files, remote.trial.folder)
        self._on_goal_or_end(remote, report.exit_code, report.failure)

    def _on_goal_or_end(self, remote: RemoteTrial, exit_code: int | None, failure: str) -> None:
        trial, is_paused = remote.trial, exit_code is None
        result = read_result(trial, exit_code=exit_code, memory_bytes=remote.progress.memory_bytes, examine=self._examine)
        self._results[trial] = result = replace(result, failure=failure) if failure else result
        if is_paused:
            self._paused[trial] = remote
        else:
            self._end(remote)
            self._slots.uses_gpu = self._slots.uses_gpu and _used_gpu(trial.folder)
        self._notify(remote, TrialState.PAUSED if is_paused else TrialState.ENDED, result)

    def _on_lost(self, remote: RemoteTrial, fault: RayError, waiting: deque[Goal]) -> None:
        """A trial whose node or actor is gone is the next to start anew, unless that has happened too often."""
        self._release_slot(remote)
        self._slots.release_node(remote.node_id)
        with suppress(RayError):
            ray.kill(remote.actor)  # one that only could not be reached must not train on
        self._losses[remote.trial] += 1
        if self._losses[remote.trial] <= MAX_RESTARTS:
            waiting.appendleft((remote.trial, remote.goal))
            return
        _write_files({}, remote.trial.folder)
        times = f"{MAX_RESTARTS + 1} times"
        self._on_goal_or_end(remote, 1, f"lost with its node or its Ray actor {times}, the last time: {format_ray_error(fault)}")

    def _release_slot(self, remote: RemoteTrial) -> None:
        self._running.remove(remote)
        if remote.slot is not None:
            remote.slot.is_taken, remote.slot = False, None

    def _end(self, remote: RemoteTrial, grace_s: float = 0.0) -> None:
        """Ends a trial and its actor, and does not wait for that."""
        self._ending = [entry for entry in self._ending if not ray.wait([entry[0]], timeout=0)[0]]
        self._ending.append((remote.actor.end.remote(grace_s), remote.actor))

    def _end_all(self) -> None:
        for remote in self._paused.values():
            self._end(remote)
        for remote in self._running:
            self._end(remote, GRACE_S)
        self._paused.clear()
        self._running.clear()
        ending, self._ending = self._ending, []
        if ending:
            ray.wait([call for call, _ in ending], num_returns=len(ending), timeout=GRACE_S + END_TIMEOUT_S)
        for _, actor in ending:
            with suppress(RayError):
                ray.kill(actor)
        self._slots.release_all()


def _write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Replaces the files in a trial's folder by those that it left on its node. Raises TrialError where that fails."""
    try:
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != JOB_FILE:
                path.unlink()
        for name, content in ({STDOUT_FILE: b"", STDERR_FILE: b""} | dict(files)).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    except OSError as fault:
        raise TrialError(f"{folder}: a trial cannot keep its files there ({fault}); choose another folder with --out") from fault


def _used_gpu(folder: Path) -> bool:
    """Whether a trial computed on a GPU, or may have."""
    try:
        return load(folder / RUN_FILE).facts.device != "cpu"
    except RecordError:
        return True
