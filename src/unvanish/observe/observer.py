"""Follows a live training step by step and writes what it sees to a journal. It never alters the training, nor raises into it.

Between sampled steps only four things of ours remain: the two global optimizer hooks, and a note at each backward call,
module birth and optimizer birth. On a fault of its own it lets go of everything, says so once, and the training goes on.
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import Token
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from unvanish.observe.first_call import FirstCallRecorder, Look
from unvanish.observe.head.head_observer import HeadObserver
from unvanish.observe.hooks.eager_steps import EagerStance
from unvanish.observe.hooks.forward_watch import ForwardWatch
from unvanish.observe.hooks.torch_patches import Patches
from unvanish.observe.logged_metrics import METRIC_SINK
from unvanish.observe.schedule import Schedule
from unvanish.observe.settings import Progress, Settings, StopTraining
from unvanish.observe.statistics.parameter_updates import (
    GradientMemory,
    StaleWatch,
    UpdateWatch,
    fingerprint,
    gradient_norm,
    has_changed,
)
from unvanish.observe.statistics.site_statistics import Capture
from unvanish.observe.step_boundary import StepBoundary
from unvanish.observe.step_log import StepLog
from unvanish.observe.structure.model_index import ModelIndex
from unvanish.record.journal import Journal
from unvanish.record.reading import Metric
from unvanish.record.run import Facts

WRITE_EVERY_S = 0.25
PROGRESS_EVERY_S = 0.25


class Observer:
    """One watched training. `attach` begins, `close` ends; in between the program runs as it would without.

    `networks` restricts it to these modules and the optimizers that own their parameters. `began` is the clock's reading
    at the start of the run, if that was earlier. `warn` is called at most once, with one line, when observing had to stop.
    `look` is called once, before the first update, with the network that ran; what it finds is written to the journal.
    `gate` is called after each step, and may hold the training up there: the time that passes in it does not count.
    """

    def __init__(
        self,
        journal: Journal,
        facts: Facts,
        *,
        settings: Settings,
        networks: Sequence[nn.Module] = (),
        on_progress: Callable[[Progress], None] | None = None,
        warn: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        began: float | None = None,
        look: Look | None = None,
        gate: Callable[[Progress], None] | None = None,
    ) -> None:
        self._journal, self._facts, self._settings = journal, facts, settings
        self._on_progress, self._warn, self._clock = on_progress, warn, clock
        self._began = clock() if began is None else began
        members = [m for network in networks for m in network.modules()]
        self._members = {id(m) for m in members}
        self._owned = {id(p) for network in networks for p in network.parameters()}
        self._look, self._first_look, self._gate = look, FirstCallRecorder(), gate
        self._process = os.getpid()
        self._schedule, self._atlas, self._marks = Schedule(settings), ModelIndex(), StepLog()
        for module in members:
            self._atlas.born(module, None)
        self._patches, self._stance = Patches(), EagerStance()
        self._forward = ForwardWatch(
            lambda: None if self._backwards else self._capture,
            guard=self._fail,
            includes=self._includes,
            on_begin=self._begin_if_between,
            on_network=self._network_ran,
            charge=self._charge,
            clock=clock,
        )
        self._handles: list[Any] = []
        self._watching = False
        self._token: Token[Any] | None = None
        self._capture: Capture | None = None
        self._updates: UpdateWatch | None = None
        self._gradients, self._stale = GradientMemory(), StaleWatch(self._atlas)
        self._audience = HeadObserver(self._atlas)
        self._pulse = StepBoundary()
        self._step = 0
        self._between = True
        self._wanted = True
        # The backward calls in progress: one within another recomputes a checkpoint. Appending is atomic, where counting is not.
        self._backwards: list[None] = []
        self._stepping = False
        self._own_s = self._own_before = 0.0
        self._last_write = self._last_progress = self._began
        self._fingerprint: list[tuple[Tensor, Tensor]] = []
        self._by_hand = False
        self.backward_calls = 0

    # Life

    def attach(self) -> None:
        """Begins to watch. torch's own state is left as it was by `close`."""
        self._patches.install(self)
        self._handles = [
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ]
        self._token = METRIC_SINK.set(lambda name, value: self.note({name: value}))
        self._watching = True
        self._arm()

    def close(self, ending: str) -> Facts:
        """Ends watching, writes what is left, and says how the run ended. Calling it again does nothing more."""
        if self._token is None or os.getpid() != self._process:
            return self._facts
        self._guarded(self._finish_last_step)
        self._let_go()
        for handle in self._handles:
            handle.remove()
        METRIC_SINK.reset(self._token)
        self._token = None
        self._facts = replace(self._facts, wall_s=self._clock() - self._began, own_s=self._own_s, ending=ending)
        self._journal.write(facts=self._facts, anatomy=self._atlas.anatomy(), marks=self._marks.take(self._atlas.objectives))
        return self._facts

    @property
    def modules_born(self) -> bool:
        """Whether the program has made any module."""
        return self._atlas.modules_born

    # What torch tells us

    def module_born(self, module: nn.Module, place: tuple[str, int] | None) -> None:
        """A module is under construction."""
        self._guarded(lambda: self._atlas.born(module, place))

    def optimizer_built(self, optimizer: Optimizer, frame: Any) -> None:
        """An optimizer was made."""

        def note() -> None:
            if self._owns(optimizer):
                self._pulse.built(optimizer)
            self._atlas.optimizer_built(frame)

        self._guarded(note)

    def loss_scaled(self, scaled: Any, loss: Any) -> None:
        """A gradient scaler made one tensor out of the other."""
        self._guarded(lambda: self._marks.scaled(scaled, loss))

    def backward_begins(self, loss: Any) -> None:
        """A backward pass is about to run."""

        def note() -> None:
            self._begin_if_between()
            self._marks.loss(loss)
            self.backward_calls += 1
            if self._capture is not None:
                self._stale.backward_begins()
                self._audience.loss(loss, self._capture, inspect.currentframe())

        if not self._backwards:
            self._guarded(note)
        self._backwards.append(None)

    def backward_ended(self) -> None:
        """That pass is over."""
        self._backwards.pop()
        if not self._backwards and self._capture is not None:
            self._guarded(self._note_gradients)
        if not self._backwards and not self._pulse.known and not self._stepping:
            self._guarded(self._prepare_by_hand)

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        def note() -> None:
            if not self._owns(optimizer):
                return
            if self._between and (self._step == 0 or self._pulse.repeats(optimizer)):
                self._begin()
            self._stepping = True
            self._fingerprint = []
            self._atlas.optimizer(optimizer)
            if self._capture is not None:
                self._capture.rates.update(self._atlas.learning_rates(optimizer))
                self._updates = UpdateWatch(self._capture, self._atlas, self._gradients, self._stale)
                self._updates.before(p for group in optimizer.param_groups for p in group["params"])
            self._look_once()

        self._guarded(note)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        def note() -> None:
            if not self._owns(optimizer):
                self._marks.forget()
                return
            self._stepping = False
            if self._updates is not None:
                self._updates.after()
                self._updates = None
            closure = bool(args[1:] if args and args[0] is optimizer else args) or kwargs.get("closure") is not None
            self._marks.claim(self._atlas.optimizer(optimizer), first_only=closure)
            if self._pulse.beats(optimizer) and not self._between:
                self._end()

        self._guarded(note)
        self._pause_or_stop()

    def _network_ran(self, model: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self._capture is not None:
            self._audience.called(self._capture, model, args, kwargs, output)
        if self._look is not None:
            self._first_look.called(model, args, kwargs, output)

    def _look_once(self) -> None:
        """The first update is about to be made: the last moment to look at the network as it was built."""
        look, self._look = self._look, None
        seen = self._first_look.take() if look is not None else None
        if look is None or seen is None:
            return
        seen.births, seen.others = self._atlas.births(seen.model), self._atlas.others(seen.model)
        seen.optimizers, seen.entry = self._atlas.optimizers_of(seen.model), self._atlas.entry(seen.model)
        self._disarm()
        try:
            with self._patches.silenced():
                examination = look(seen)
        finally:
            self._arm()
        if examination is not None:
            self._journal.write(examination=examination)

    def note(self, metrics: Mapping[str, float]) -> None:
        """Takes in figures that the script reported at this step."""
        found = [Metric(self._step, name, value) for name, value in metrics.items()]
        if found:
            self._guarded(lambda: self._journal.write(metrics=found))

    # Steps

    def _begin_if_between(self) -> None:
        if self._stepping:  # what an optimizer's closure computes belongs to the step that asked for it
            return
        if self._fingerprint and (self._by_hand or has_changed(self._fingerprint)):
            self._end_by_hand()
            self._pause_or_stop()
        if self._between:
            self._begin()

    def _begin(self) -> None:
        if self._step == self._settings.max_steps:  # the program has caught what was to stop it
            self._pause_or_stop()
        began = self._clock()
        self._finish_step()
        self._step += 1
        self._between = False
        self._marks.begin()
        self._capture = Capture(self._step, self._atlas) if self._wanted else None
        self._own_before = self._own_s + self._clock() - began  # our caller charges for finishing the step before

    def _end(self) -> None:
        """The step's update is made: its time and losses are known, and whether the next one is to be sampled."""
        self._marks.end(self._step, self._clock() - self._began)
        self._between = True
        elapsed_s = self._clock() - self._began
        self._wanted = self._schedule.wants(self._step + 1, own_s=self._own_s, elapsed_s=elapsed_s)
        if self._wanted:
            self._arm()
        else:
            self._disarm()
        if self._on_progress is not None and self._clock() - self._last_progress >= PROGRESS_EVERY_S:
            self._last_progress = self._clock()
            self._on_progress(self.progress)

    def _end_by_hand(self) -> None:
        self._by_hand = True
        self._fingerprint = []
        if self._updates is not None:
            self._updates.after()
            self._updates = None
        self._marks.claim(0)
        self._end()

    def _finish_step(self) -> None:
        """Writes the step that ended, if it was sampled, and the marks of the steps since."""
        capture, self._capture = self._capture, None
        now = self._clock()
        if capture is None:
            if now - self._last_write >= WRITE_EVERY_S and self._marks.ready:
                self._last_write = now
                self._journal.write(marks=self._marks.take(self._atlas.objectives))
            return
        own_s = self._own_s - self._own_before
        reading = capture.reading(own_s=own_s)
        anatomy = self._atlas.anatomy() if self._atlas.changed else None
        self._atlas.changed = False
        self._journal.write(reading=reading, anatomy=anatomy, marks=self._marks.take(self._atlas.objectives))
        self._last_write = self._clock()
        self._schedule.sampled(capture.step, own_s + self._last_write - now)

    def _finish_last_step(self) -> None:
        """Of a step by hand nobody says that it is over: the end of the run does."""
        if self._fingerprint and has_changed(self._fingerprint):
            self._end_by_hand()
        self._finish_step()

    def _prepare_by_hand(self) -> None:
        """While no optimizer is known, a step ends where the weights have changed after a backward call."""
        parameters = [p for p in self._atlas.living_parameters() if p.requires_grad]
        self._fingerprint = fingerprint(parameters)
        if self._capture is not None:
            self._updates = UpdateWatch(self._capture, self._atlas, self._gradients, self._stale)
            self._updates.before(parameters)

    def _note_gradients(self) -> None:
        """What backward has left, before anything clips or unscales it."""
        if self._capture is not None:
            for parameter in self._atlas.living_parameters():
                if parameter.grad is not None:
                    index = self._atlas.parameter(parameter)
                    self._capture.left[index] = (gradient_norm(parameter), parameter.numel())

    def _pause_or_stop(self) -> None:
        """A step is over: the gate may hold the training up, and the limit ends it."""
        if not (self._between and os.getpid() == self._process and self._watching):
            return
        if self._gate is not None:
            began = self._clock()
            self._gate(self.progress)
            waited_s = self._clock() - began
            self._began, self._last_progress = self._began + waited_s, self._last_progress + waited_s
        if self._step == self._settings.max_steps:
            raise StopTraining

    @property
    def progress(self) -> Progress:
        """Where the training stands."""
        elapsed_s = self._clock() - self._began
        return Progress(self._step, self._marks.last_loss, self._own_s / max(elapsed_s, 1e-9))

    def flush(self) -> None:
        """Writes what is known of the steps that are over, for whoever reads the journal while the training waits."""
        self._guarded(lambda: self._journal.write(marks=self._marks.take(self._atlas.objectives)))

    # Hooks on and off

    def _arm(self) -> None:
        self._forward.install()
        self._stance.enter()

    def _disarm(self) -> None:
        self._forward.remove()
        self._stance.leave()

    def _let_go(self) -> None:
        """All but the optimizer hooks, which do nothing from here on: torch may be going through them at this moment."""
        self._watching = False
        self._disarm()
        self._patches.remove()
        self._updates = None
        self._fingerprint = []

    def _includes(self, module: nn.Module) -> bool:
        mine = not self._members or id(module) in self._members
        return mine and not self._backwards and os.getpid() == self._process

    def _owns(self, optimizer: Optimizer) -> bool:
        return not self._owned or any(id(p) in self._owned for group in optimizer.param_groups for p in group["params"])

    # Faults

    def _guarded(self, work: Callable[[], None]) -> None:
        if os.getpid() != self._process or not self._watching:
            return
        began = self._clock()
        try:
            work()
        except Exception as fault:
            self._fail(fault)
        self._charge(self._clock() - began)

    def _charge(self, seconds: float) -> None:
        self._own_s += seconds

    def _fail(self, fault: Exception) -> None:
        if not self._watching:  # a gradient's hook of the step that failed
            return
        self._let_go()
        self._capture = None
        line = f"{type(fault).__name__}: {fault}"
        self._facts = replace(self._facts, faults=(*self._facts.faults, line))
        if self._warn is not None:
            self._warn(f"stopped watching at step {self._step}; the training goes on ({line})")
            self._warn = None
