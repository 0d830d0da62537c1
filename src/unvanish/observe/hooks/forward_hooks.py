"""Watches the forward pass of a sampled step: module outputs by global hooks, functional activations by a function mode.

Nothing here exists between sampled steps. The mode is entered and left around the outermost module call, so that it nests
properly with modes of the user's own, and it steps aside where torch may choose faster kernels: where gradients are off, and
in attention that is not in training.
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
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import unserializable_hook

from unvanish.observe.statistics import tensor_statistics
from unvanish.observe.statistics.attention_entropy import entropy_of, fused_entropy, module_entropy
from unvanish.observe.statistics.batch_statistics import batch_statistics
from unvanish.observe.statistics.site_statistics import Capture, SiteCall, SiteStatistics
from unvanish.observe.statistics.tensor_statistics import Number, SlopeSample
from unvanish.observe.structure.operation_kinds import ELEMENTWISE, functional_activations, has_fast_path, kind_of

ATTENTION = "scaled_dot_product_attention"
fused_attention = getattr(torch.nn.functional, ATTENTION)
TURNS = 256  # equal operations within one module call that are told apart; further ones count as the last


@dataclass(slots=True)
class Call:
    """One module call in progress."""

    module: nn.Module
    counts: Counter[str] = field(default_factory=Counter[str])
    suspended: bool = False


class ForwardWatch:
    """Owner of the hooks of one sampled step. `install` and `remove` are safe to call at any time, also within a hook."""

    def __init__(
        self,
        capture: Callable[[], Capture | None],
        *,
        guard: Callable[[Exception], None],
        includes: Callable[[nn.Module], bool],
        on_begin: Callable[[], None],
        on_network: Callable[[nn.Module, Any, Any, Any], None],
        charge: Callable[[float], None],
        clock: Callable[[], float],
    ) -> None:
        self._capture = capture
        self._guard = guard
        self._includes = includes
        self._on_begin = on_begin
        self._on_network = on_network
        self._charge = charge
        self.clock = clock
        self._stack: list[Call] = []
        self._handles: list[Any] = []
        self._mode: FunctionWatch | None = None
        self._fault: Exception | None = None  # within the mode, kept until the mode can be left
        self._thread = 0

    def install(self) -> None:
        """Hooks on, for the thread that calls. What an interrupted forward pass left behind is forgotten."""
        self._leave_mode()
        self._stack.clear()
        if not self._handles:
            self._thread = threading.get_ident()
            self._handles = [
                hooks.register_module_forward_pre_hook(self._before),
                hooks.register_module_forward_hook(self._after, with_kwargs=True, always_call=True),
            ]

    def remove(self) -> None:
        """Hooks off."""
        for handle in self._handles:
            handle.remove()
            # torch forgets this entry, and would then take its modules for watched ever after.
            hooks._global_forward_hooks_with_kwargs.pop(handle.id, None)  # pyright: ignore[reportPrivateUsage]
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
                self._on_begin()
            if self._capture() is None:
                return
            call = Call(module)
            if not torch.is_grad_enabled() or has_fast_path(module):
                call.suspended = self._mode is not None
                self._leave_mode()
            elif not self._stack:
                self._enter_mode()
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
                self._on_network(module, args, keywords[0], output)
            if capture is not None and tensor is not None and worth_seeing(tensor) and capture.producer(tensor) is None:
                self._see_module(capture, module, tensor, args, keywords[0] if keywords else {})
        except Exception as fault:
            self._guard(fault)
        finally:
            self.charge_since(began)

    def _see_module(self, capture: Capture, module: nn.Module, tensor: Tensor, args: Any, kwargs: Any) -> None:
        kind = kind_of(module)
        if kind == "other":
            return
        holder = self._stack[-1].module if self._stack else None
        outermost = self._stack[0].module if self._stack else module
        call = SiteCall(module, holder, outermost, type(module).__name__.lower(), kind, 0, False, _caller())
        sighting = self._see(capture, call, tensor)
        with DisableTorchFunction():
            if kind == "normalisation" and args:
                sighting.add(batch_statistics(module, args[0]))
            elif isinstance(module, nn.MultiheadAttention):
                sighting.add({"attention_entropy": module_entropy(module, args, kwargs)})

    def see_attention(self, output: Any, entropy: Callable[[], Number]) -> None:
        """Takes in one call of fused attention within a module; `entropy` computes that of its weights."""
        capture = self._capture()
        if capture is None or not self._stack or not isinstance(output, Tensor) or not worth_seeing(output):
            return
        owner = self._stack[-1]
        holder = self._stack[-2].module if len(self._stack) > 1 else None
        turn = self._turn(ATTENTION, owner)
        call = SiteCall(owner.module, holder, self._stack[0].module, ATTENTION, "attention", turn, True, _caller())
        sighting = self._see(capture, call, output)
        with DisableTorchFunction():
            sighting.add({"attention_entropy": entropy()})

    def see_function(self, name: str, slopes: SlopeSample | None, output: Any, dim: int | None) -> None:
        """Takes in one call of a functional activation, with a sample of its inputs that was taken before the call, and the
        dimension that a softmax ran over."""
        capture = self._capture()
        tensor = first_tensor(output)
        if capture is None or tensor is None or not self._stack or not worth_seeing(tensor):
            return
        owner = self._stack[-1]
        holder = self._stack[-2].module if len(self._stack) > 1 else None
        functional = not type(owner.module).__module__.startswith("torch.nn.modules.activation")
        turn = self._turn(name, owner) if functional else self._turn(f"{id(owner.module)}", self._stack[-2:][0])
        outermost = self._stack[0].module
        call = SiteCall(owner.module, holder, outermost, name, "activation", turn, functional, _caller())
        sighting = self._see(capture, call, tensor)
        if slopes is not None:
            sighting.slopes.append(slopes)
        if name == "softmax" and dim is not None:
            with DisableTorchFunction():
                sighting.add({"attention_entropy": entropy_of(tensor, dim)})

    def _turn(self, name: str, call: Call) -> int:
        """How often this was seen before within a module call: a shared activation is another site at each place."""
        turn = call.counts[name]
        call.counts[name] += 1
        return min(turn, TURNS - 1)

    def _see(self, capture: Capture, call: SiteCall, tensor: Tensor) -> SiteStatistics:
        sighting = capture.sight(call)
        with DisableTorchFunction():  # our own arithmetic does not pass through the mode
            output = tensor.detach()
            sighting.samples.append(tensor_statistics.subsample(output))
            sighting.nonfinite.append(tensor_statistics.nonfinite(output))
            if call.kind == "activation":
                sighting.add({"silent_fraction": tensor_statistics.silent_share(output)})
        capture.produced(tensor, sighting)
        if tensor.requires_grad:
            tensor.register_hook(self._gradient_hook(sighting))
        return sighting

    def _gradient_hook(self, sighting: SiteStatistics) -> Callable[[Tensor], None]:
        @unserializable_hook  # a script may save the tensor: the hook is then left out without a word
        def hook(gradient: Tensor) -> None:
            began = self.clock()
            try:
                flow = gradient.detach()
                sighting.gradients.append((tensor_statistics.norm(flow), flow.numel()))
                smallest = tensor_statistics.log10_smallest(flow.dtype)
                sighting.add({"gradient_zero_fraction": tensor_statistics.zero_share(flow), "log10_smallest_gradient": smallest})
            except Exception as fault:
                self._guard(fault)
            finally:
                self.charge_since(began)

        return hook

    def charge_since(self, began: float) -> None:
        """Adds the time since `began` to what observing took."""
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
    """Sees every torch function called in Python, and reports the activations among them."""

    def __init__(self, watch: ForwardWatch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """The function's own result; activations are described on the way."""
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
            self._watch.see_function(name, sample, output, dim if isinstance(dim, int) else None)
        except Exception as fault:
            self._watch.postpone(fault)
        self._watch.charge_since(began)
        return output

    def _attention(self, func: Any, args: Any, kwargs: Any, began: float) -> Any:
        """Fused attention's own result; how sharply it looks is computed besides."""
        self._watch.charge_since(began)
        output = func(*args, **kwargs)
        began = self._watch.clock()
        try:
            names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale")
            given = dict(zip(names, args, strict=False)) | kwargs
            if torch.is_grad_enabled():
                self._watch.see_attention(
                    output,
                    lambda: fused_entropy(
                        given["query"],
                        given["key"],
                        given.get("attn_mask"),
                        causal=bool(given.get("is_causal")),
                        scale=given.get("scale"),
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
            return SlopeSample(form, tensor_statistics.slope_sample(inputs.detach()), lambda z: func(z, *rest, **kwargs))
        except Exception as fault:
            self._watch.postpone(fault)
            return None


def _caller() -> FrameType:
    """The frame from which our caller was called. With its own one, frame and `SiteCall` would hold each other, and the tensor that
    is in the frame as well, until garbage is collected."""
    return sys._getframe(2)  # pyright: ignore[reportPrivateUsage]


def first_tensor(output: Any) -> Tensor | None:
    """The tensor that stands for a module's output: itself, or the first one in a tuple, list, dict or data class."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, dict):
        output = tuple(output.values())
    elif is_dataclass(output) and not isinstance(output, type):
        output = tuple(getattr(output, f.name) for f in fields(output))
    parts = output if isinstance(output, tuple | list) else ()
    return next((t for t in map(first_tensor, parts) if t is not None), None)


def worth_seeing(tensor: Tensor) -> bool:
    """Whether a tensor has numbers to describe: floating point, not empty, dense, real memory behind it."""
    plain = tensor.is_floating_point() and tensor.numel() > 0 and tensor.layout is torch.strided
    return plain and tensor.dim() > 0 and not tensor.is_meta and not is_functorch_wrapped_tensor(tensor)
