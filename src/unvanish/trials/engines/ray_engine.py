"""Runs trials as actors on a Ray cluster, each with a process of its own on one of the nodes. It judges no result.

A trial that runs has a seat, which holds its CPUs and its GPU; one that waits has only its actor, and its process keeps its memory.
What is lost with a node runs again from its start on another, with the same seeds, and so comes to the same.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from unvanish.errors import RecordError, TrialError
from unvanish.record.journal import load
from unvanish.record.verdict import TrialResult
from unvanish.trials.engines.engine import Engine, EngineOptions, Goal
from unvanish.trials.engines.local import GRACE_S, NEWS_EVERY_S
from unvanish.trials.engines.ray_actor import Heard, Surroundings, TrialActor
from unvanish.trials.engines.ray_slots import ResourceSlot, ResourceSlots, said_by
from unvanish.trials.progress import TrialProgress
from unvanish.trials.trial import JOB, RUN, STDERR, STDOUT, State, Trial, TrialEvent, save_job
from unvanish.trials.trial_result import result_of

RESUBMISSIONS = 3  # of one trial whose node or actor was lost
PATIENCE_S = 0.5  # how long nothing is looked at but what is waited for
LEAVE_S = 5.0  # what an actor gets to end its trial


@dataclass(slots=True, eq=False)
class Hosted:
    """A trial with its actor, and the node and GPUs that it is bound to. `call` was asked last; `seat` is None while it waits."""

    trial: Trial
    actor: Any
    node: str
    devices: str
    goal: int | None
    seat: ResourceSlot | None
    call: Any
    at: TrialProgress = field(default_factory=TrialProgress)


@final
class RayEngine(Engine):
    """Owner of the actors of a race and of their seats. `leave` is called at the end, once nothing runs any more."""

    name = "ray"

    def __init__(self, terms: EngineOptions, surroundings: Surroundings, *, leave: Callable[[], None]) -> None:
        self._terms, self._surroundings, self._leave = terms, surroundings, leave
        self._seats = ResourceSlots(surroundings.threads, most=terms.jobs)
        self._running: list[Hosted] = []
        self._held: dict[Trial, Hosted] = {}  # in the order in which they began to wait
        self._leaving: list[tuple[Any, Any]] = []
        self._results: dict[Trial, TrialResult] = {}
        self._losses: Counter[Trial] = Counter()
        self._largest_bytes = 0
        self._closed = False

    @property
    def capacity(self) -> int:
        """How many trials run at a time."""
        return self._seats.capacity

    def advance(self, goals: Sequence[Goal]) -> list[TrialResult]:
        """As the engine promises."""
        waiting = deque(goals)
        self._results.clear()
        try:
            while (waiting or self._running) and time.monotonic() < self._terms.deadline:
                self._place(waiting)
                self._hear(waiting)
        except KeyboardInterrupt:
            self._end_all()
            if not self._results:
                raise
        except BaseException:
            self._end_all()
            raise
        if self._running:
            self._end_all()
        return [self._results[trial] for trial, _ in goals if trial in self._results]

    def stop(self, trials: Sequence[Trial]) -> None:
        """As the engine promises."""
        for trial in trials:
            hosted = self._held.pop(trial, None)
            if hosted is not None:
                self._dismiss(hosted)
                self._tell(hosted, State.STOPPED)

    def close(self) -> None:
        """As the engine promises: those that run are asked first. A connection that was made for this engine ends."""
        if not self._closed:
            self._closed = True
            try:
                self._end_all()
            finally:
                self._leave()

    def _place(self, waiting: deque[Goal]) -> None:
        """Asks for seats, and gives those that are free to trials that wait."""
        # A trial that waits goes on where its process is, in this round or the next: a seat stays there.
        needed = {hosted.node for hosted in self._held.values()}
        self._seats.ask(len(waiting) + len(self._running), needed)
        for seat in self._seats.free:
            goal = next((goal for goal in waiting if self._may_sit(goal[0], seat)), None)
            if goal is not None:
                waiting.remove(goal)
                self._go(*goal, seat)

    def _may_sit(self, trial: Trial, seat: ResourceSlot) -> bool:
        """Whether a trial can run on a seat. One that waits elsewhere can where it would never come to a seat there."""
        place, held = seat.place, self._held.get(trial)
        if place is None:
            return False
        if held is not None and self._seats.on(held.node):
            return (held.node, held.devices) == (place.node, place.devices)
        return self._has_room(place.node)

    def _has_room(self, node: str) -> bool:
        """Whether a node has the memory for one more, made if need be by ending one that waits there; the first always has room."""
        while True:
            there = [each for each in (*self._held.values(), *self._running) if each.node == node]
            taken = sum(each.at.memory_bytes or self._largest_bytes for each in there)
            if not there or taken + self._largest_bytes <= self._seats.memory(node):
                return True
            evicted = next((each for each in there if each.trial in self._held), None)
            if evicted is None:
                return False
            self._dismiss(self._held.pop(evicted.trial))

    def _go(self, trial: Trial, goal: int | None, seat: ResourceSlot) -> None:
        hosted = self._held.pop(trial, None)
        if hosted is not None and seat.place is not None and hosted.node != seat.place.node:
            self._dismiss(hosted)
            hosted = None
        hosted = hosted or self._begun(trial, seat)
        seat.taken = True
        hosted.seat, hosted.goal, hosted.call = seat, goal, hosted.actor.advance.remote(goal)
        self._running.append(hosted)
        self._tell(hosted, State.RUNNING)

    def _begun(self, trial: Trial, seat: ResourceSlot) -> Hosted:
        """A trial with an actor on the node of a seat."""
        assert seat.place is not None
        save_job(trial)
        surroundings = self._surroundings if trial.cwd is None else replace(self._surroundings, cwd=trial.cwd.resolve())
        bound = NodeAffinitySchedulingStrategy(seat.place.node, soft=False)
        kind = ray.remote(num_cpus=0)(TrialActor).options(scheduling_strategy=bound)
        actor = kind.remote(trial, surroundings, seat.place)
        return Hosted(trial, actor, seat.place.node, seat.place.devices, None, seat, None)

    def _hear(self, waiting: deque[Goal]) -> None:
        """Waits until something happens, and takes it in."""
        calls = {hosted.call: hosted for hosted in self._running}
        asked = [*calls, *self._seats.calls]
        if not asked:
            time.sleep(PATIENCE_S)
            return
        left_s = max(0.0, self._terms.deadline - time.monotonic())
        done, _ = ray.wait(asked, timeout=min(PATIENCE_S, left_s))
        for call in done:
            if call not in calls:
                self._seats.arrived(call)
                continue
            try:
                self._take_in(calls[call], ray.get(call))
            except RayTaskError as fault:
                raise TrialError(f"a trial cannot be run on a node of the Ray cluster: {said_by(fault)}") from fault
            except RayError as fault:
                self._lost(calls[call], fault, waiting)

    def _take_in(self, hosted: Hosted, heard: Heard) -> None:
        """What was heard of a trial; where it goes on, it is asked again."""
        new, hosted.at = heard.at.step != hosted.at.step, heard.at
        self._largest_bytes = max(self._largest_bytes, heard.at.memory_bytes)
        self._seats.threads = heard.at.threads or self._seats.threads
        if heard.files is None:
            hosted.call = hosted.actor.listen.remote(NEWS_EVERY_S)
            if new:
                self._tell(hosted, State.RUNNING)
            return
        self._rise(hosted)
        _unpack(heard.files, hosted.trial.folder)
        self._arrived(hosted, heard.exit_code, heard.trouble)

    def _arrived(self, hosted: Hosted, exit_code: int | None, trouble: str) -> None:
        trial, paused = hosted.trial, exit_code is None
        memory, examine = hosted.at.memory_bytes, self._terms.examine
        result = result_of(trial, exit_code=exit_code, memory_bytes=memory, examine=examine)
        self._results[trial] = result = replace(result, failure=trouble) if trouble else result
        if paused:
            self._held[trial] = hosted
        else:
            self._dismiss(hosted)
            self._seats.gpus = self._seats.gpus and _used_gpu(trial.folder)
        self._tell(hosted, State.PAUSED if paused else State.ENDED, result)

    def _lost(self, hosted: Hosted, fault: RayError, waiting: deque[Goal]) -> None:
        """A trial whose node or actor is gone is the next to begin again, unless that has happened too often."""
        self._rise(hosted)
        self._seats.leave(hosted.node)
        with suppress(RayError):
            ray.kill(hosted.actor)  # one that only could not be reached must not train on
        self._losses[hosted.trial] += 1
        if self._losses[hosted.trial] <= RESUBMISSIONS:
            waiting.appendleft((hosted.trial, hosted.goal))
            return
        _unpack({}, hosted.trial.folder)
        self._arrived(hosted, 1, f"lost with its node or its Ray actor {RESUBMISSIONS + 1} times, the last time: {said_by(fault)}")

    def _rise(self, hosted: Hosted) -> None:
        """Frees the seat of a trial."""
        self._running.remove(hosted)
        if hosted.seat is not None:
            hosted.seat.taken, hosted.seat = False, None

    def _dismiss(self, hosted: Hosted, grace_s: float = 0.0) -> None:
        """Ends a trial and its actor, and does not wait for that."""
        self._leaving = [each for each in self._leaving if not ray.wait([each[0]], timeout=0)[0]]
        self._leaving.append((hosted.actor.end.remote(grace_s), hosted.actor))

    def _end_all(self) -> None:
        """Ends every trial and gives back every seat; what does not answer in time is killed."""
        for hosted in self._held.values():
            self._dismiss(hosted)
        for hosted in self._running:
            self._dismiss(hosted, GRACE_S)
        self._held.clear()
        self._running.clear()
        leaving, self._leaving = self._leaving, []
        if leaving:
            ray.wait([call for call, _ in leaving], num_returns=len(leaving), timeout=GRACE_S + LEAVE_S)
        for _, actor in leaving:
            with suppress(RayError):
                ray.kill(actor)
        self._seats.give_all_back()

    def _tell(self, hosted: Hosted, state: State, result: TrialResult | None = None) -> None:
        if self._terms.progress is None:
            return
        step, loss = (result.steps, result.final_loss) if result is not None else (hosted.at.step, hosted.at.loss)
        self._terms.progress(TrialEvent(hosted.trial, state, step, loss, hosted.goal, result))


def _unpack(files: Mapping[str, bytes], folder: Path) -> None:
    """Puts what a trial left on its node in its folder here, in place of what was there. Raises TrialError where that cannot be."""
    try:
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != JOB:
                path.unlink()
        for name, content in ({STDOUT: b"", STDERR: b""} | dict(files)).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    except OSError as fault:
        raise TrialError(f"{folder}: a trial cannot keep its files there ({fault}); choose another folder with --out") from fault


def _used_gpu(folder: Path) -> bool:
    """Whether a trial computed on a GPU, or may have."""
    try:
        return load(folder / RUN).facts.device != "cpu"
    except RecordError:
        return True
