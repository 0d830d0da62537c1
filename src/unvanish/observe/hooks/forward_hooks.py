"""Measures the forward pass of a sampled step: module outputs by global hooks, functional activations by a function mode.

Hooks and mode are removed between sampled steps. The mode is entered and left around the outermost module call, so that it nests
properly with modes of the user's own, and it is left where torch may choose faster kernels: where gradients are off, and in
attention that is not in training.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import DisableTorchFunction
from torch._C._functorch import is_functorch_wrapped_tensor  # pyright: ignore[reportMissingModuleSource]
from torch.nn.modules import module as module_hooks
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import unserializable_hook

from unvanish.network.distributed_tensors import is_distributed, local_part, original_class
from unvanish.observe.statistics import tensor_statistics
from unvanish.observe.statistics.attention_entropy import fused_entropy, module_entropy, softmax_entropy
from unvanish.observe.statistics.batch_norm import batch_norm_statistics
from unvanish.observe.statistics.site_statistics import SiteCall, SiteStatistics
from unvanish.observe.statistics.step_capture import Capture
from unvanish.observe.statistics.tensor_statistics import Number, SlopeSample
from unvanish.observe.structure.site_kinds import ELEMENTWISE, functional_activations, has_fast_path, kind_of

ATTENTION = "scaled_dot_product_attention"
fused_attention = getattr(torch.nn.functional, ATTENTION)
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
        self._mode: FunctionWatch | None = None
        self._fault: Exception | None = None  # raised within the mode, kept until the mode can be left
        self._thread = 0

    def install(self) -> None:
        """Sets the hooks, for the calling thread; the state of an interrupted forward pass is discarded."""
        self._leave_mode()
        self._stack.clear()
        if not self._handles:
            self._thread = threading.get_ident()
            self._handles = [
                module_hooks.register_module_forward_pre_hook(self._before),
                module_hooks.register_module_forward_hook(self._after, with_kwargs=True, always_call=True),
            ]

    def remove(self) -> None:
        """Removes the hooks."""
        for handle in self._handles:
            handle.remove()
            # torch leaves this entry behind, and would count its modules as hooked from then on.
            module_hooks._global_forward_hooks_with_kwargs.pop(handle.id, None)  # pyright: ignore[reportPrivateUsage]
        self._handles = []
        self._leave_mode()
        self._stack.clear()
        self._fault = None

    def _before(self, module: nn.Module, _args: Any) -> None:
        if threading.get_ident() != self._thread or not self._handles:
            return
        began = self.clock()
        try:
            if not self._stack:
                if not torch.is_grad_enabled() or not self._includes(module):
                    return
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
            if capture is not None and keywords and not self._stack and torch.is_grad_enabled():
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
        if not current.has_called_modules and kind_of(current.module) == "weight":
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


class FunctionWatch(TorchFunctionMode):
    """Intercepts every torch function called in Python, and records the activations and fused attention among them."""

    def __init__(self, watch: ForwardWatch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The function's own result, after recording the call."""
        kwargs = kwargs or {}
        began = self._watch.clock()
        if func is fused_attention:
            return self._attention(func, args, kwargs, began)
        name = functional_activations().get(func)
        inputs = args[0] if args else kwargs.get("input")
        if name is None or not isinstance(inputs, Tensor) or not torch.is_grad_enabled():
            self._watch.charge_since(began)
            return func(*args, **kwargs)
        sample = self._sample(name, func, inputs, args[1:], kwargs)
        self._watch.charge_since(began)
        output = func(*args, **kwargs)
        began = self._watch.clock()
        try:
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            self._watch.record_activation(name, sample, inputs, output, dim if isinstance(dim, int) else None)
        except Exception as fault:
            self._watch.postpone(fault)
        self._watch.charge_since(began)
        return output

    def _attention(self, func: Any, args: Any, kwargs: Any, began: float) -> Any:
        """Fused attention's own result, after recording the entropy of its weights."""
        self._watch.charge_since(began)
        output = func(*args, **kwargs)
        began = self._watch.clock()
        try:
            names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale")
            arguments = dict(zip(names, args, strict=False)) | kwargs
            arguments |= {name: local_part(value) for name, value in arguments.items() if isinstance(value, Tensor)}
            if torch.is_grad_enabled():
                self._watch.record_attention(
                    output,
                    lambda: fused_entropy(
                        arguments["query"],
                        arguments["key"],
                        arguments.get("attn_mask"),
                        causal=bool(arguments.get("is_causal")),
                        scale=arguments.get("scale"),
                    ),
                )
        except Exception as fault:
            self._watch.postpone(fault)
        self._watch.charge_since(began)
        return output

    def _sample(self, name: str, func: Any, inputs: Tensor, rest: Any, kwargs: Any) -> SlopeSample | None:
        """Inputs of an elementwise activation, taken before the call since it may work in place."""
        try:
            if name not in ELEMENTWISE or not inputs.is_floating_point() or inputs.numel() == 0:
                return None
            kwargs = {key: value for key, value in kwargs.items() if key not in ("input", "out")}  # `out` is the user's memory
            form = f"{name} {rest} {kwargs}"
            sample = tensor_statistics.sample_elements(local_part(inputs).detach())
            return SlopeSample(form, sample, lambda z: func(z, *rest, **kwargs))
        except Exception as fault:
            self._watch.postpone(fault)
            return None


def _caller() -> FrameType:
    """The frame that called this function's caller. The caller's own frame and its `SiteCall` would form a reference cycle, which
    keeps the frame's tensors until garbage is collected."""
    return sys._getframe(2)  # pyright: ignore[reportPrivateUsage]


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor of a module's output: itself, or in a tuple, list, dict or data class; None where there is none.

    Example:
        >>> first_tensor({"loss": None, "logits": (torch.ones(2),)})
        tensor([1., 1.])
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, dict):
        output = tuple(output.values())
    elif is_dataclass(output) and not isinstance(output, type):
        output = tuple(getattr(output, f.name) for f in fields(output))
    items = output if isinstance(output, tuple | list) else ()
    return next((t for t in map(first_tensor, items) if t is not None), None)


def is_measurable_output(tensor: Tensor) -> bool:
    """Whether a module's output can be measured: not a scalar, nor a tensor within a transform of torch.func."""
    return tensor_statistics.is_measurable(local_part(tensor)) and tensor.dim() > 0 and not is_functorch_wrapped_tensor(tensor)
