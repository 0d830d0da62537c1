"""Observes a live training step by step and writes readings to a journal, without altering the training.

Between sampled steps two global optimizer hooks and the four wrapped callables of `torch_patches` remain. On a fault of its own it
detaches everything and warns once, and the training goes on; only `StopTraining` is raised into it, after `max_steps`.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import Token
from dataclasses import replace
from types import FrameType
from typing import Any

from torch import nn
from torch.optim import Optimizer

from unvanish.observe.first_network_call import ExamineFirstCall, FirstCallRecorder
from unvanish.observe.hooks.attachment import Attachment
from unvanish.observe.hooks.forward_hooks import ForwardWatch
from unvanish.observe.journal_writer import JournalWriter
from unvanish.observe.logged_metrics import METRIC_SINK
from unvanish.observe.manual_updates import ManualSteps
from unvanish.observe.output_head.head_observer import HeadObserver
from unvanish.observe.run_facts import used_device
from unvanish.observe.sampling_schedule import Schedule
from unvanish.observe.settings import Progress, Settings, StopTraining
from unvanish.observe.statistics.parameter_observer import ParameterObserver
from unvanish.observe.statistics.step_capture import Capture
from unvanish.observe.step_boundary import StepBoundary
from unvanish.observe.step_log import StepLog
from unvanish.observe.structure.model_index import ModelIndex
from unvanish.observe.structure.module_origin import BuildLine
from unvanish.observe.watched_models import WatchScope
from unvanish.record.quantities import Metric, StepMark
from unvanish.record.run import Facts

WRITE_INTERVAL_S = 0.25
PROGRESS_INTERVAL_S = 0.25


class Observer:
    """One observed training. `attach` begins, `close` ends; in between the program runs as it would without.

    `networks` restricts it to these modules and the optimizers that hold their parameters. `began` is the clock's reading
    in seconds at the start of the run, if that was earlier. `warn` is called at most once, with one line, when observing had to
    stop. `examine` is called once, before the first update, with the network that ran; what it returns is written to the journal.
    `gate` is called after each step and may block there: the time that passes in it does not count. `model_index` is what is known
    of the networks from another observer. `waits_for_training`: nothing is done before the first optimizer or backward pass.
    """

    def __init__(
        self,
        journal: JournalWriter,
        facts: Facts,
        *,
        settings: Settings,
        networks: Sequence[nn.Module] = (),
        on_progress: Callable[[Progress], None] | None = None,
        warn: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
        began: float | None = None,
        examine: ExamineFirstCall | None = None,
        gate: Callable[[Progress], None] | None = None,
        model_index: ModelIndex | None = None,
        waits_for_training: bool = False,
    ) -> None:
        self._journal, self._facts, self._settings = journal, facts, settings
        self._on_progress, self._warn, self._clock = on_progress, warn, clock
        self._began = clock() if began is None else began
        self._examine, self._first_call, self._gate = examine, FirstCallRecorder(), gate
        self._scope, self._model_index = WatchScope(networks), model_index or ModelIndex()
        self.model_index = self._model_index  # for the observer of a process that is forked
        self._schedule, self._step_log = Schedule(settings), StepLog()
        for module in self._scope.modules:
            self._model_index.module_built(module, None)
        forward = ForwardWatch(
            lambda: None if self._open_backwards else self._capture,
            guard=self._fail,
            includes=lambda module: not self._open_backwards and self._scope.includes_module(module),
            on_forward_begins=self.forward_begins,
            on_network_call=self.network_called,
            charge=self._charge,
            clock=clock,
        )
        self._hooks = Attachment(self, forward)
        self._is_watching, self._is_waiting = False, waits_for_training
        self._sink_token: Token[Any] | None = None
        self._capture: Capture | None = None
        self._parameters = ParameterObserver(self._model_index)
        self._heads = HeadObserver(self._model_index)
        self._step_boundary, self._manual_steps = StepBoundary(), ManualSteps()
        self._step = self.backward_calls = 0
        self._is_between_steps = self._samples_next = True
        # The backward calls in progress: one within another recomputes a checkpoint. Appending is atomic, where counting is not.
        self._open_backwards: list[None] = []
        self._in_optimizer = False
        self._own_s = self._own_s_at_step_start = 0.0
        self._last_write = self._last_progress = self._began

    def attach(self) -> None:
        """Begins to observe. `close` leaves torch's own state as it was."""
        self._sink_token = METRIC_SINK.set(lambda name, value: self.record_metrics({name: value}))
        self._is_watching = True
        self._hooks.attach()
        if not self._is_waiting:
            self._hooks.hook_forward()

    def close(self, ending: str) -> Facts:
        """Ends observing, writes what is left, and returns the run's facts with its ending. A second call does nothing more."""
        if self._sink_token is None or not self._scope.is_own_process:
            return self._facts
        self._guarded(self._finish_last_step)
        METRIC_SINK.reset(self._sink_token)
        self.release()
        wall_s, device = self._clock() - self._began, used_device()
        self._facts = replace(self._facts, wall_s=wall_s, own_s=self._own_s, ending=ending, device=device)
        self._journal.write(facts=self._facts, structure=self._model_index.structure(), marks=self._take_marks())
        return self._facts

    @property
    def returned_gradients(self) -> bool:
        """Whether torch gave gradients back to the script, which are not watched, and not to parameters."""
        return self._hooks.returned_gradients

    def release(self) -> None:
        """Withdraws everything and writes nothing, as in a forked process, where the journal is that of another one."""
        self._detach()
        self._hooks.release()
        self._sink_token = None

    def module_built(self, module: nn.Module, line: BuildLine | None) -> None:
        """A module is under construction."""
        self._guarded(lambda: self._model_index.module_built(module, line))

    def optimizer_built(self, optimizer: Optimizer, frame: Any) -> None:
        """An optimizer was constructed in `frame`."""

        def record() -> None:
            if self._scope.includes_optimizer(optimizer):
                self._step_boundary.register(optimizer)
                self._hooks.optimizer_built(optimizer)
                self._expect_training()
                self._step_log.register(optimizer)
            self._model_index.optimizer_built(frame)

        self._guarded(record)

    def loss_scaled(self, scaled: Any, loss: Any) -> None:
        """A gradient scaler made `scaled` out of `loss`."""
        self._guarded(lambda: self._step_log.record_scaling(scaled, loss))

    def backward_begins(self, loss: Any) -> None:
        """A backward pass is about to run."""

        def record() -> None:
            self._expect_training()
            self.forward_begins()
            self._step_log.record_loss(loss)
            self._hooks.backward_called()
            self.backward_calls += 1
            if self._capture is not None:
                self._parameters.backward_begins()
                is_compiled = self._hooks.has_compiled_calls
                heads = self._heads.record_loss(loss, self._capture, inspect.currentframe(), is_compiled=is_compiled)
                self._step_log.record_heads(heads)

        if not self._open_backwards:
            self._guarded(record)
        self._open_backwards.append(None)

    def backward_ended(self) -> None:
        """That pass is over."""
        self._open_backwards.pop()
        if self._open_backwards:
            return
        if (capture := self._capture) is not None:
            if self._hooks.has_compiled_calls:
                self._guarded(lambda: self._heads.record_eager_outputs(capture, self._hooks.measure_compiled_calls()))
            self._guarded(lambda: self._parameters.backward_ended(capture))
        self._guarded(self._step_log.backward_ended)
        if self._in_optimizer:  # in an optimizer's closure, which runs the network before the update
            self._guarded(self._examine_once)
        elif not self._step_boundary.has_optimizer:
            self._guarded(self._expect_manual_update)

    def before_optimizer_step(self, optimizer: Optimizer) -> None:
        """An optimizer is about to step."""

        def record() -> None:
            if not self._scope.includes_optimizer(optimizer):
                return
            if self._is_between_steps and (self._step == 0 or self._step_boundary.begins_step(optimizer)):
                self._begin_step()
            self._in_optimizer = True
            self._manual_steps.discard()
            self._model_index.objective_index(optimizer)
            if self._capture is not None:
                self._capture.learning_rates.update(self._model_index.learning_rates(optimizer))
                self._parameters.before_update(self._capture, (p for group in optimizer.param_groups for p in group["params"]))
            self._examine_once()

        self._guarded(record)

    def after_optimizer_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """An optimizer has stepped, called with these arguments."""
        has_closure = bool(args[1:] if args and args[0] is optimizer else args) or kwargs.get("closure") is not None
        self._guarded(lambda: self._record_optimizer_step(optimizer, has_closure=has_closure))
        self._pause_or_stop()

    def optimizer_stepped_unseen(self, optimizer: Optimizer) -> None:
        """An optimizer has stepped within a compiled region, which has ended."""
        if self._is_between_steps and (self._step == 0 or self._step_boundary.begins_step(optimizer)):
            self._guarded(self._begin_step)
        self._guarded(lambda: self._record_optimizer_step(optimizer, has_closure=False))
        self._pause_or_stop()

    def _record_optimizer_step(self, optimizer: Optimizer, *, has_closure: bool) -> None:
        if not self._scope.includes_optimizer(optimizer):
            self._step_log.discard_losses()
            return
        self._in_optimizer, self._examine = False, None
        self._first_call.discard()
        self._parameters.after_update()
        objective = self._model_index.objective_index(optimizer)
        self._model_index.heads_trained(self._step_log.assign_losses(objective, optimizer, first_only=has_closure), objective)
        if self._step_boundary.ends_step(optimizer) and not self._is_between_steps:
            self._end_step()

    def forward_begins(self) -> None:
        """A network is about to be called with gradients on, or a compiled region that may call one."""
        if self._in_optimizer:  # what an optimizer's closure computes belongs to the optimizer's step
            return
        if self._manual_steps.has_ended():
            self._end_manual_step()
            self._pause_or_stop()
        if self._is_between_steps:
            self._begin_step()

    def network_seen(self, model: nn.Module, frame: FrameType) -> None:
        """Compiled code of a network was called in `frame`, in which the network has a name."""

        def record() -> None:
            self._model_index.network_index(model, frame)

        if self._capture is not None:
            self._guarded(record)

    def network_called(self, model: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """A network was called, by itself, with gradients on."""
        if self._capture is not None:
            self._heads.record_call(self._capture, model, args, kwargs, output)
        if self._examine is not None:
            self._first_call.record_call(model, args, kwargs, output)

    def _examine_once(self) -> None:
        """Examines the network before its first update: the last moment at which it is as it was built."""
        examine = self._examine
        first_call = self._first_call.take(self._model_index) if examine is not None else None
        if examine is None or first_call is None:
            return
        self._examine = None
        self._hooks.free_forward()
        try:
            with self._hooks.silenced():
                examination = examine(first_call)
        finally:
            self._hooks.hook_forward()
        if examination is not None:
            self._journal.write(examination=examination)

    def record_metrics(self, metrics: Mapping[str, float]) -> None:
        """Writes metrics that the script reported at the current step."""
        rows = [Metric(self._step, name, value) for name, value in metrics.items()]
        if rows:
            self._guarded(lambda: self._journal.write(metrics=rows))

    def _begin_step(self) -> None:
        if self._step == self._settings.max_steps:  # the program has caught StopTraining
            self._pause_or_stop()
        began = self._clock()
        self._finish_step()
        self._step += 1
        self._is_between_steps = False
        self._step_log.begin_step()
        self._capture = Capture(self._step, self._model_index) if self._hooks.is_forward_hooked else None
        # The time since `began` finished the step before, and the caller charges it when this returns.
        self._own_s_at_step_start = self._own_s + self._clock() - began

    def _end_step(self) -> None:
        """Records the step's time and losses once its update is made, and decides whether the next step is sampled."""
        self._step_log.end_step(self._step, self._clock() - self._began)
        self._is_between_steps = True
        elapsed_s = self._clock() - self._began
        self._samples_next = self._schedule.should_sample(self._step + 1, own_s=self._own_s, elapsed_s=elapsed_s)
        if self._samples_next:
            self._hooks.hook_forward()
        else:
            self._hooks.free_forward()
        if self._on_progress is not None and self._clock() - self._last_progress >= PROGRESS_INTERVAL_S:
            self._last_progress = self._clock()
            self._on_progress(self.progress)

    def _end_manual_step(self) -> None:
        self._manual_steps.end_step()
        self._parameters.after_update()
        self._step_log.assign_losses(0)
        self._end_step()

    def _finish_step(self) -> None:
        """Writes the step that ended, if it was sampled, and the marks of the steps since the last write."""
        capture, self._capture = self._capture, None
        now = self._clock()
        if capture is None:
            if now - self._last_write >= WRITE_INTERVAL_S and self._step_log.is_ready:
                self._last_write = now
                self._journal.write(marks=self._take_marks())
            return
        own_s = self._own_s - self._own_s_at_step_start
        reading = capture.reading(own_s=own_s)
        structure = self._model_index.structure() if self._model_index.changed else None
        self._model_index.changed = False
        self._journal.write(reading=reading, structure=structure, marks=self._take_marks())
        self._last_write = self._clock()
        self._schedule.record_sample(capture.step, own_s + self._last_write - now)

    def _finish_last_step(self) -> None:
        """Ends a last manual step, which no later call ends, and writes the last step."""
        if self._manual_steps.has_updated():
            self._end_manual_step()
        self._finish_step()

    def _expect_manual_update(self) -> None:
        parameters = [p for p in self._model_index.living_parameters() if p.requires_grad]
        self._manual_steps.expect_update(parameters)
        if self._capture is not None:
            self._parameters.before_update(self._capture, parameters)

    def _pause_or_stop(self) -> None:
        """Calls the gate after a step, and raises StopTraining after the last one."""
        if not (self._is_between_steps and self._scope.is_own_process and self._is_watching):
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
        """The last step, its loss, and the observer's share of the time so far."""
        elapsed_s = self._clock() - self._began
        return Progress(self._step, self._step_log.last_loss, self._own_s / max(elapsed_s, 1e-9))

    def flush(self) -> None:
        """Writes the marks of the steps that are over, for readers of the journal while the training is paused."""
        self._guarded(lambda: self._journal.write(marks=self._take_marks()))

    def _take_marks(self) -> list[StepMark]:
        return self._step_log.take(self._model_index.objectives)

    def _expect_training(self) -> None:
        """The first sign of a training, for which a process that may never train has waited."""
        if self._is_waiting:
            self._is_waiting = False
            self._hooks.hook_forward()

    def _detach(self) -> None:
        self._is_watching = False
        self._hooks.detach()
        self._parameters.discard()
        self._manual_steps.discard()

    def _guarded(self, work: Callable[[], None]) -> None:
        if not self._scope.is_own_process or not self._is_watching:
            return
        began, own_s = self._clock(), self._own_s
        try:
            work()
        except Exception as fault:
            self._fail(fault)
        self._own_s = own_s + self._clock() - began  # what hooks inside have charged is a part of it

    def _charge(self, seconds: float) -> None:
        self._own_s += seconds

    def _fail(self, fault: Exception) -> None:
        if not self._is_watching:  # a gradient hook of the step that failed
            return
        self._detach()
        self._capture = None
        line = f"{type(fault).__name__}: {fault}"
        self._facts = replace(self._facts, faults=(*self._facts.faults, line))
        if self._warn is not None:
            self._warn(f"stopped watching at step {self._step}; the training goes on ({line})")
            self._warn = None
