"""Replaces four callables of torch while a run is observed: backward, module and optimizer construction, and loss scaling.

Torch has global hooks for none of these. Each wrapper calls the original and a listener, and alters neither arguments nor result.
Of a backward pass that is `_engine_run_backward`, the last Python function on its way: torch's compiler never traces it, as it does
what is above it. Where a compiled region calls one of the wrappers, neither it nor the listener is compiled.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unvanish.monkey_patch import CallablePatch, skipped_by_warnings
from unvanish.network.compiled_code import call_uncompiled, exclude_from_tracing
from unvanish.observe.structure import module_origin
from unvanish.observe.structure.module_origin import BuildLine


class Listener(Protocol):
    """Receives what the replaced callables report. None of its methods may raise."""

    def module_built(self, module: nn.Module, line: BuildLine | None) -> None:
        """A module is under construction."""
        ...

    def optimizer_built(self, optimizer: Optimizer, frame: Any) -> None:
        """An optimizer was constructed in `frame`."""
        ...

    def backward_begins(self, loss: Any) -> None:
        """`backward` was called on `loss`, a tensor or a sequence of them."""
        ...

    def backward_ended(self) -> None:
        """That call returned or raised."""
        ...

    def loss_scaled(self, scaled: Any, loss: Any) -> None:
        """A gradient scaler made `scaled` out of `loss`."""
        ...


class TorchPatches:
    """Replaces four callables of torch while a run is observed, and restores them.

    `returned_gradients` tells whether gradients were given back to the script, as by `torch.autograd.grad`, which are not watched.
    """

    def __init__(self) -> None:
        self._listener: Listener | None = None
        self.returned_gradients = False
        self._patches = (
            CallablePatch(torch.autograd.graph, "_engine_run_backward", self._run_backward, aliases=(torch.autograd,)),
            CallablePatch(nn.Module, "__init__", self._init_module),
            CallablePatch(Optimizer, "__init__", self._init_optimizer),
            CallablePatch(torch.amp.grad_scaler.GradScaler, "scale", self._scale_loss),
        )

    def install(self, listener: Listener) -> None:
        """Replaces all four callables; `listener` is called from now on."""
        self._listener = listener
        for patch in self._patches:
            patch.install()
        exclude_from_tracing(
            *(self._run_backward, self._init_module, self._init_optimizer, self._scale_loss),
            *(p.replacement for p in self._patches),
        )

    @contextmanager
    def silenced(self) -> Generator[None]:
        """A context in which the listener is not called."""
        listener, self._listener = self._listener, None
        try:
            yield
        finally:
            self._listener = listener

    def remove(self) -> None:
        """Restores the originals; where somebody else has wrapped ours since, that stays, and ours only passes calls on."""
        self._listener = None
        for patch in reversed(self._patches):
            patch.remove()

    @skipped_by_warnings
    def _run_backward(self, original: Callable[..., Any], /, outputs: Any, *args: Any, **kwargs: Any) -> Any:
        listener = self._listener
        if listener is None or not kwargs.get("accumulate_grad", False):
            self.returned_gradients |= listener is not None
            return original(outputs, *args, **kwargs)
        call_uncompiled(listener.backward_begins, outputs)
        try:
            return original(outputs, *args, **kwargs)
        finally:
            call_uncompiled(listener.backward_ended)

    @skipped_by_warnings
    def _init_module(self, original: Callable[..., Any], module: nn.Module, /, *args: Any, **kwargs: Any) -> None:
        original(module, *args, **kwargs)
        if (listener := self._listener) is not None:
            call_uncompiled(_report_module, listener, module)

    @skipped_by_warnings
    def _init_optimizer(self, original: Callable[..., Any], optimizer: Optimizer, /, *args: Any, **kwargs: Any) -> None:
        original(optimizer, *args, **kwargs)
        if (listener := self._listener) is not None:
            call_uncompiled(listener.optimizer_built, optimizer, inspect.currentframe())

    @skipped_by_warnings
    def _scale_loss(self, original: Callable[..., Any], scaler: Any, /, outputs: Any) -> Any:
        scaled = original(scaler, outputs)
        if isinstance(outputs, Tensor) and (listener := self._listener) is not None:
            call_uncompiled(listener.loss_scaled, scaled, outputs)
        return scaled


def _report_module(listener: Listener, module: nn.Module) -> None:
    listener.module_built(module, module_origin.find_build_line(module))
