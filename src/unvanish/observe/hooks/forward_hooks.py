"""Measures the forward pass of a sampled step: module outputs by global hooks, functional activations by a function mode.

Hooks and mode are removed between sampled steps. The mode is entered and left around the outermost module call, so that it nests
properly with modes of the user's own, and it is left where torch may choose faster kernels: where gradients are off, and in
attention that is not in training.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import DisableTorchFunction
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn.modules import module as module_hooks
from torch.utils.hooks import unserializable_hook

from unvanish.monkey_patch import CallablePatch
from unvanish.network.distributed_tensors import is_distributed, local_part, original_class
from unvanish.network.module_kinds import has_children
from unvanish.observe.hooks.function_watch import ATTENTION, FunctionWatch
from unvanish.observe.hooks.module_outputs import first_tensor, is_measurable_output
from unvanish.observe.statistics import tensor_statistics
from unvanish.observe.statistics.attention_entropy import module_entropy, softmax_entropy
from unvanish.observe.statistics.batch_norm import batch_norm_statistics
from unvanish.observe.statistics.site_statistics import SiteCall, SiteStatistics
from unvanish.observe.statistics.step_capture import Capture
from unvanish.observe.statistics.tensor_statistics import Number, SlopeSample
from unvanish.observe.structure.site_kinds import has_fast_path, kind_of

MAX_OCCURRENCES = 256  # equal operations within one module call that are told apart; further ones count as the last


@dataclass(slots=True)
class ModuleCall:
    """One module call in progress: how often each operation has run in it so far, whether it has called other modules, and the
    input and output of its last activation."""

    module: nn.Module
    counts: Counter[str] = field(default_factory=Counter[str])
    suspended: bool = False
    has_called_modules: bool = False
    activation: tuple[Tensor, Tensor] | None = None


class ForwardWatch:
    """Owner of the hooks of one sampled step. `install` and `remove` are safe to call at any time, also within a hook.

    `capture` gives the step's capture, None where nothing is to be measured. `guard` receives every fault. `includes` says whether
    a module is watched. `on_forward_begins` is called before and `on_network_call` after each outermost module call with gradients
    on. `charge` receives the seconds that measuring took, by `clock`.
    """

    def __init__(
        self,
        capture: Callable[[], Capture | None],
        *,
        guard: Callable[[Exception], None],
        includes: Callable[[nn.Module], bool],
        on_forward_begins: Callable[[], None],
        on_network_call: Callable[[nn.Module, Any, Any, Any], None],
        charge: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        self._capture = capture
        self._guard = guard
        self._includes = includes
        self._on_forward_begins = on_forward_begins
        self._on_network_call = on_network_call
        self._charge = charge
        self.clock = clock
        self._stack: list[ModuleCall] = []
        self._handles: list[Any] = []
        # torch warns of hooks on all modules where a compiled one is called, since they run once more for its wrapper.
        self._warning_patch = CallablePatch(module_hooks, "_has_any_global_hook", self._has_other_hooks)
        self._mode: FunctionWatch | None = None
        self._is_mode_suspended = False
        self._edges: list[GradientEdge] | None = None  # of the sites, while a part of the forward pass is run again
        self._reports_calls = True
        self._fault: Exception | None = None  # raised within the mode, kept until the mode can be left
        self._thread = 0

    def install(self) -> None:
        """Sets the hooks, for the calling thread; the state of an interrupted forward pass is discarded."""
        self._leave_mode()
        self._stack.clear()
        self._thread = threading.get_ident()
        self._register()

    def remove(self) -> None:
        """Removes the hooks."""
        self._unregister()
        self._leave_mode()
        self._stack.clear()
        self._fault = None

    @property
    def is_own_thread(self) -> bool:
        """Whether this is called from the thread whose forward pass is measured."""
        return threading.get_ident() == self._thread

    @property
    def is_within_network(self) -> bool:
        """Whether a module call is in progress."""
        return bool(self._stack)

    @property
    def can_suspend(self) -> bool:
        """Whether the function mode, if it is entered, can be left: the script has entered none since."""
        if self._mode is None:
            return True
        modes: Any = torch._C  # pyright: ignore[reportPrivateUsage]
        return modes._get_function_stack_at(modes._len_torch_function_stack() - 1) is self._mode

    def suspend(self) -> list[ModuleCall]:
        """Removes hooks and mode until `resume`, in the midst of a forward pass. Returns copies of the module calls in progress."""
        self._unregister()
        if self.is_own_thread:
            self._is_mode_suspended = self._mode is not None
            self._leave_mode()
        return [replace(call, counts=Counter(call.counts), activation=None) for call in self._stack]

    def resume(self) -> None:
        """Sets hooks and mode again as they were."""
        self._register()
        if self._is_mode_suspended and self.is_own_thread:
            self._is_mode_suspended = False
            self._enter_mode()

    @contextmanager
    def replaying(self, calls: list[ModuleCall], *, reports_calls: bool) -> Generator[list[GradientEdge]]:
        """A context in which a part of a forward pass is run again, within the module calls `calls`, between forward passes.

        Its sites are recorded; the list is filled with their places in the autograd graph. `reports_calls`: whether an outermost
        module call is one of a network.
        """
        self._stack, self._edges, self._reports_calls = list(calls), [], reports_calls
        if calls:
            self._enter_mode()
        try:
            yield self._edges
        finally:
            self._leave_mode()
            self._stack, self._edges, self._reports_calls = [], None, True

    def hide_outputs(self, outputs: Iterable[Tensor]) -> None:
        """These tensors were made within compiled code: the modules that return them are no sites of their own."""
        if (capture := self._capture()) is not None:
            for output in outputs:
                capture.set_hidden(output)

    def _register(self) -> None:
        if not self._handles:
            self._handles = [
                module_hooks.register_module_forward_pre_hook(self._before),
                module_hooks.register_module_forward_hook(self._after, with_kwargs=True, always_call=True),
            ]
            self._warning_patch.install()

    def _unregister(self) -> None:
        for handle in self._handles:
            handle.remove()
            # torch leaves this entry behind, and would count its modules as hooked from then on.
            module_hooks._global_forward_hooks_with_kwargs.pop(handle.id, None)  # pyright: ignore[reportPrivateUsage]
        self._handles = []
        self._warning_patch.remove()

    def _has_other_hooks(self, _original: Callable[[], Any], /) -> bool:
        """What torch asks: whether all modules have a hook; ours allow for what it warns of."""
        lists = ("forward_pre_hooks", "forward_hooks", "backward_pre_hooks", "backward_hooks")
        return sum(len(getattr(module_hooks, f"_global_{name}")) for name in lists) > len(self._handles)

    def _before(self, module: nn.Module, _args: Any) -> None:
        if threading.get_ident() != self._thread or not self._handles:
            return
        began = self.clock()
        try:
            if not self._stack:
                if not torch.is_grad_enabled() or not self._includes(module):
                    return
                if self._edges is None:
                    self._on_forward_begins()
            if self._capture() is None:
                return
            call = ModuleCall(module)
            if not torch.is_grad_enabled() or has_fast_path(module):
                call.suspended = self._mode is not None
                self._leave_mode()
            elif not self._stack:
                self._enter_mode()
            if self._stack:
                self._stack[-1].has_called_modules = True
            self._stack.append(call)
        except Exception as fault:
            self._guard(fault)
        finally:
            self.charge_since(began)

    def _after(self, module: nn.Module, args: Any, *rest: Any) -> None:
        *keywords, output = rest  # torch leaves the keyword arguments out where the forward pass has raised
        if threading.get_ident() != self._thread or not self._stack or self._stack[-1].module is not module:
            return
        began = self.clock()
        try:
            call = self._stack.pop()
            if call.suspended:
                self._enter_mode()
            if not self._stack:
                self._leave_mode()
            if self._fault is not None:
                raise self._fault
            capture = self._capture()
            tensor = first_tensor(output)
            is_network_call = keywords and not self._stack and self._reports_calls
            if capture is not None and is_network_call and torch.is_grad_enabled():
                self._on_network_call(module, args, keywords[0], output)
            if capture is not None and tensor is not None and call.activation is not None and call.activation[1] is tensor:
                tensor = call.activation[0]  # an activation of the layer's own: Dense(8, activation="relu") of Keras
            if capture is not None and tensor is not None and is_measurable_output(tensor) and capture.producer(tensor) is None:
                self._record_module(capture, call, tensor, args, keywords[0] if keywords else {})
        except Exception as fault:
            self._guard(fault)
        finally:
            self.charge_since(began)

    def _record_module(self, capture: Capture, module_call: ModuleCall, tensor: Tensor, args: Any, kwargs: Any) -> None:
        module = module_call.module
        kind = kind_of(module, has_called_modules=module_call.has_called_modules)
        if kind == "other":
            return
        caller = self._stack[-1].module if self._stack else None
        outermost = self._stack[0].module if self._stack else module
        call = SiteCall(module, caller, outermost, original_class(module).__name__.lower(), kind, 0, False, _caller())
        site = self._record_output(capture, call, tensor)
        with DisableTorchFunction():
            if kind == "normalisation" and args:
                site.add(batch_norm_statistics(module, local_part(args[0])))
            elif isinstance(module, nn.MultiheadAttention) and not any(map(is_distributed, module.parameters(recurse=False))):
                site.add({"attention_entropy": module_entropy(module, args, kwargs)})

    def record_attention(self, output: Any, entropy: Callable[[], Number]) -> None:
        """Records one call of fused attention within a module; `entropy` computes that of its weights."""
        capture = self._capture()
        if capture is None or not self._stack or not isinstance(output, Tensor) or not is_measurable_output(output):
            return
        current = self._stack[-1]
        caller = self._stack[-2].module if len(self._stack) > 1 else None
        occurrence = self._count_occurrence(ATTENTION, current)
        call = SiteCall(current.module, caller, self._stack[0].module, ATTENTION, "attention", occurrence, True, _caller())
        site = self._record_output(capture, call, output)
        with DisableTorchFunction():
            site.add({"attention_entropy": entropy()})

    def record_activation(self, name: str, slopes: SlopeSample | None, inputs: Tensor, output: Any, dim: int | None) -> None:
        """Records one call of a functional activation.

        `slopes` is a sample of its inputs from before the call, `dim` the dimension that a softmax normalises.
        """
        capture = self._capture()
        tensor = first_tensor(output)
        if capture is None or tensor is None or not self._stack or not is_measurable_output(tensor):
            return
        current = self._stack[-1]
        caller = self._stack[-2].module if len(self._stack) > 1 else None
        functional = not type(current.module).__module__.startswith("torch.nn.modules.activation")
        counting, counted = (current, name) if functional else (self._stack[-2:][0], f"{id(current.module)}")
        occurrence = self._count_occurrence(counted, counting)
        outermost = self._stack[0].module
        if functional and inputs is not tensor and is_measurable_output(inputs) and capture.producer(inputs) is None:
            self._keep_layer_output(capture, current, caller, (inputs, tensor))
        call = SiteCall(current.module, caller, outermost, name, "activation", occurrence, functional, _caller())
        site = self._record_output(capture, call, tensor)
        if slopes is not None:
            site.slopes.append(slopes)
        if name == "softmax" and dim is not None:
            with DisableTorchFunction():
                site.add({"attention_entropy": softmax_entropy(local_part(tensor), dim)})

    def _keep_layer_output(
        self, capture: Capture, current: ModuleCall, caller: nn.Module | None, activation: tuple[Tensor, Tensor]
    ) -> None:
        """Keeps what a layer gives to an activation of its own, until the layer has ended. Its site comes first."""
        if not has_children(current.module) and kind_of(current.module) == "weight":
            current.activation = activation
            op = type(current.module).__name__.lower()
            capture.site_statistics(
                SiteCall(current.module, caller, self._stack[0].module, op, "weight", 0, False, sys._getframe(2))  # pyright: ignore[reportPrivateUsage]
            )

    def _count_occurrence(self, name: str, call: ModuleCall) -> int:
        """How often the operation came before within a module call, where a shared activation is another site each time."""
        occurrence = call.counts[name]
        call.counts[name] += 1
        return min(occurrence, MAX_OCCURRENCES - 1)

    def _record_output(self, capture: Capture, call: SiteCall, tensor: Tensor) -> SiteStatistics:
        site = capture.site_statistics(call)
        with DisableTorchFunction():  # our own arithmetic does not pass through the mode
            output = local_part(tensor).detach()
            site.samples.append(tensor_statistics.subsample(output))
            site.nonfinite.append(tensor_statistics.count_nonfinite(output))
            if call.kind == "activation":
                site.add({"silent_fraction": tensor_statistics.silent_fraction(output)})
        capture.set_producer(tensor, site)
        if tensor.requires_grad:
            tensor.register_hook(self._gradient_hook(site))
            if self._edges is not None:
                self._edges.append(get_gradient_edge(tensor))
        return site

    def _gradient_hook(self, site: SiteStatistics) -> Callable[[Tensor], None]:
        @unserializable_hook  # a script may save the tensor: the hook is then left out without a warning
        def hook(gradient: Tensor) -> None:
            began = self.clock()
            try:
                flow = local_part(gradient).detach()
                site.gradients.append((tensor_statistics.euclidean_norm(flow), flow.numel()))
                smallest = tensor_statistics.log10_smallest_positive(flow.dtype)
                site.add({"gradient_zero_fraction": tensor_statistics.zero_fraction(flow), "log10_smallest_gradient": smallest})
            except Exception as fault:
                self._guard(fault)
            finally:
                self.charge_since(began)

        return hook

    def charge_since(self, began: float) -> None:
        """Adds the time since `began` to the cost of observing."""
        self._charge(self.clock() - began)

    def postpone(self, fault: Exception) -> None:
        """Keeps a fault until the module call in progress ends: torch cannot leave a mode from within it."""
        self._fault = fault

    def _enter_mode(self) -> None:
        if self._mode is None:
            self._mode = FunctionWatch(self)
            self._mode.__enter__()

    def _leave_mode(self) -> None:
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
            self._mode = None


def _caller() -> FrameType:
    """The frame that called this function's caller. The caller's own frame and its `SiteCall` would form a reference cycle, which
    keeps the frame's tensors until garbage is collected."""
    return sys._getframe(2)  # pyright: ignore[reportPrivateUsage]
