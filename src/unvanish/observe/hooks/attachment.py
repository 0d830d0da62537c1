"""Attaches an observer to torch: patches, optimizer hooks, and on sampled steps the hooks of the forward pass.

All hooks are withdrawn while code that torch.compile has compiled runs, so that dynamo never sees them. What such a region of a
sampled step has computed is measured by running it again eagerly, after the backward pass; see `region_calls`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from types import CodeType, FrameType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from unvanish.observe.hooks.compiled_regions import CompiledRegions
from unvanish.observe.hooks.compiled_steps import CompiledSteps
from unvanish.observe.hooks.forward_hooks import ForwardWatch
from unvanish.observe.hooks.region_calls import RegionCall, may_run_again, region_call, run_again
from unvanish.observe.hooks.torch_patches import Listener, TorchPatches
from unvanish.observe.output_head.graph_nodes import NodeKey


class StepListener(Listener, Protocol):
    """Receives the steps of optimizers and calls of compiled networks, besides what the replaced callables report."""

    def before_optimizer_step(self, optimizer: Optimizer) -> None:
        """An optimizer is about to step."""
        ...

    def after_optimizer_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """An optimizer has stepped, called with these arguments."""
        ...

    def optimizer_stepped_unseen(self, optimizer: Optimizer) -> None:
        """An optimizer has stepped within a compiled region, which has ended."""
        ...

    def forward_begins(self) -> None:
        """A network is about to be called with gradients on, or a compiled region that may call one."""
        ...

    def network_seen(self, model: nn.Module, frame: FrameType) -> None:
        """Compiled code of a network was called in `frame`, in which the network has a name."""
        ...

    def network_called(self, model: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """A network was called, by itself, with gradients on."""
        ...


class Attachment:
    """All that an observer has in torch. `attach` and `detach` come once; the forward pass is hooked and freed step by step.

    Arguments:
        listener: what is called.
        forward: the hooks of the forward pass.
    """

    def __init__(self, listener: StepListener, forward: ForwardWatch) -> None:
        self._listener, self._forward = listener, forward
        self._patches, self._regions, self._compiled_steps = TorchPatches(), CompiledRegions(self), CompiledSteps()
        self._optimizer_handles: list[Any] = []
        self._is_attached = self._hooks_forward = self._is_running_again = False
        self._region: tuple[FrameType, RegionCall] | None = None  # that is running compiled, and may be run again
        self._region_calls: list[RegionCall] = []
        self._whole_steps: set[CodeType] = set()  # of regions that have called backward
        self.eager_functions: dict[str, None] = {}  # compiled functions that have run eagerly though they round otherwise, in order

    def attach(self) -> None:
        """Begins: from now on the listener is called."""
        self._is_attached = True
        self._patches.install(self._listener)
        self._hook_optimizers()
        self._regions.attach()

    def detach(self) -> None:
        """Removes all but the optimizer hooks, which torch may be iterating over; they do nothing from here on."""
        self._is_attached = False
        self.free_forward()
        self._regions.detach()
        self._patches.remove()

    def release(self) -> None:
        """Removes the optimizer hooks as well."""
        for handle in self._optimizer_handles:
            handle.remove()
        self._optimizer_handles = []

    def silenced(self) -> AbstractContextManager[None]:
        """A context in which the patches do not call the listener."""
        return self._patches.silenced()

    @property
    def returned_gradients(self) -> bool:
        """Whether gradients were given back to the script, as by `torch.autograd.grad`, which are not watched."""
        return self._patches.returned_gradients

    # The forward pass

    @property
    def is_forward_hooked(self) -> bool:
        """Whether the step that begins now can be sampled: not one that begins within a compiled region."""
        return self._hooks_forward and not self._regions.is_inside

    def hook_forward(self) -> None:
        """Sets the hooks of the forward pass, or within a compiled region as soon as it has ended."""
        self._hooks_forward = True
        if not self._regions.is_inside:
            self._forward.install()

    def free_forward(self) -> None:
        """Removes the hooks of the forward pass, and forgets what compiled regions have run."""
        self._hooks_forward, self._region = False, None
        self._region_calls.clear()
        self._forward.remove()

    # Compiled regions

    @property
    def has_compiled_calls(self) -> bool:
        """Whether compiled regions have run since the last backward pass of a sampled step."""
        return bool(self._region_calls)

    def measure_compiled_calls(self) -> dict[tuple[NodeKey, int], Tensor]:
        """The eager outputs, as `run_again` gives them, of the compiled regions that have had a gradient."""
        calls = [call for call in self._region_calls if call.gradients]
        self._region_calls = [call for call in self._region_calls if not call.gradients]
        outputs: dict[tuple[NodeKey, int], Tensor] = {}
        self._is_running_again = True
        try:
            with self.silenced():
                for call in calls:
                    if call.is_unchanged():
                        outputs |= run_again(call, self._forward)
        finally:
            self._is_running_again = False
        return outputs

    def optimizer_built(self, optimizer: Optimizer) -> None:
        """An optimizer was constructed."""
        self._compiled_steps.register(optimizer)

    def backward_called(self) -> None:
        """A backward pass begins: a region that runs now does more than compute, and is not run again."""
        if self._regions.is_inside:
            self._compiled_steps.backward_called()
        if self._region is not None and (code := self._region[1].code) is not None:
            self._whole_steps.add(code)
            self._region = None

    def runs_eagerly(self, frame: FrameType, callback: Any) -> bool:
        """Whether a region that is about to begin is to run eagerly, so that its modules are seen."""
        if not self._hooks_forward or not torch.is_grad_enabled() or not self._forward.is_own_thread:
            return False
        call = region_call(frame, [])
        if self._is_running_again:
            return True
        if call is None or (self._forward.can_suspend and may_run_again(call) and call.code not in self._whole_steps):
            return False
        if not call.rounds_exactly(callback):
            self.eager_functions[call.name] = None
        return True

    def region_entered(self, frame: FrameType, *, is_stepping: bool) -> None:
        """Withdraws the hooks, and keeps the call of a sampled step."""
        if self._hooks_forward:
            is_first = self._region is None and not is_stepping and torch.is_grad_enabled() and self._forward.is_own_thread
            if is_first and not self._forward.is_within_network:
                self._listener.forward_begins()
            module_calls = self._forward.suspend()
            call = region_call(frame, module_calls) if is_first and self._hooks_forward else None
            self._region = (frame, call) if call is not None else self._region
        if not is_stepping:  # else torch may be iterating over them
            self.release()
            self._compiled_steps.begin()

    def region_left(self, frame: FrameType, *, is_over: bool) -> None:
        """Puts the hooks back, and at the end of the region reports the steps of optimizers that nothing has seen."""
        if not self._is_attached:
            return
        if not self._optimizer_handles:
            self._hook_optimizers()
        region = self._region
        if self._hooks_forward and (region is None or region[0] is frame):
            self._forward.resume()
            self._region = None
            if region is not None and "result" in frame.f_locals:
                self._keep_call(region[1], frame)
        for optimizer in self._compiled_steps.finish() if is_over else ():
            self._listener.optimizer_stepped_unseen(optimizer)

    def _keep_call(self, call: RegionCall, frame: FrameType) -> None:
        result = frame.f_locals["result"]
        self._forward.hide_outputs(call.record_result(result))
        self._region_calls.append(call)
        network = call.module_calls[0].module if call.module_calls else call.module
        if network is not None:
            self._listener.network_seen(network, frame)
        if call.module is not None and not call.module_calls:
            self._listener.network_called(call.module, call.args, call.kwargs, result)

    # Optimizers

    def _hook_optimizers(self) -> None:
        def before(optimizer: Optimizer, *_: Any) -> None:
            if self._hooks_forward:
                self._compiled_steps.observe(optimizer)
            self._compiled_steps.seen(optimizer)
            self._listener.before_optimizer_step(optimizer)

        self._optimizer_handles = [
            register_optimizer_step_pre_hook(before),
            register_optimizer_step_post_hook(self._listener.after_optimizer_step),
        ]
