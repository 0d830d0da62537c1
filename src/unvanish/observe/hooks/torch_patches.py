"""Replaces a few of torch's callables for the length of a run, and puts every one back. Each wrapper only adds a note.

Torch has no global hook for a backward call, the birth of a module, or the making of an optimizer: these three, and the
scaling of a loss, are wrapped.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from unvanish.observe.structure import module_origin


class Listener(Protocol):
    """Who is told. None of these may raise."""

    def module_born(self, module: nn.Module, place: tuple[str, int] | None) -> None:
        """A module is under construction."""
        ...

    def optimizer_built(self, optimizer: Optimizer, frame: Any) -> None:
        """An optimizer was made in `frame`."""
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


Hearer = Callable[[], Listener | None]  # who is told at present, if anybody is


class Patches:
    """Owner of the replaced callables."""

    def __init__(self) -> None:
        self._replaced: list[tuple[Any, str, Any, Any]] = []
        self._listener: Listener | None = None

    def install(self, listener: Listener) -> None:
        """Replaces them all."""
        self._listener = listener
        self._replace(torch.autograd, "backward", _backward)
        self._replace(nn.Module, "__init__", _module_init)
        self._replace(Optimizer, "__init__", _optimizer_init)
        self._replace(torch.amp.grad_scaler.GradScaler, "scale", _scale)

    @contextmanager
    def silenced(self) -> Generator[None]:
        """Nobody is told of what happens inside."""
        listener, self._listener = self._listener, None
        try:
            yield
        finally:
            self._listener = listener

    def remove(self) -> None:
        """Puts back what still stands; where somebody else wrapped ours since, that is left, and ours only passes through."""
        self._listener = None
        for owner, name, original, replacement in reversed(self._replaced):
            if getattr(owner, name) is replacement:
                setattr(owner, name, original)
        self._replaced.clear()

    def _replace(self, owner: Any, name: str, wrap: Callable[[Any, Hearer], Any]) -> None:
        original = getattr(owner, name)
        replacement = wrap(original, lambda: self._listener)
        setattr(owner, name, replacement)
        self._replaced.append((owner, name, original, replacement))


def _backward(original: Any, hearer: Hearer) -> Any:
    @functools.wraps(original)
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        listener = hearer()
        if listener is None:
            return original(tensors, *args, **kwargs)
        listener.backward_begins(tensors)
        try:
            return original(tensors, *args, **kwargs)
        finally:
            listener.backward_ended()

    return backward


def _module_init(original: Any, hearer: Hearer) -> Any:
    @functools.wraps(original)
    def init(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if (listener := hearer()) is not None:
            listener.module_born(self, module_origin.built_at(self))

    return init


def _optimizer_init(original: Any, hearer: Hearer) -> Any:
    @functools.wraps(original)
    def init(self: Optimizer, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        if (listener := hearer()) is not None:
            listener.optimizer_built(self, inspect.currentframe())

    return init


def _scale(original: Any, hearer: Hearer) -> Any:
    @functools.wraps(original)
    def scale(self: Any, outputs: Any) -> Any:
        scaled = original(self, outputs)
        if isinstance(outputs, Tensor) and (listener := hearer()) is not None:
            listener.loss_scaled(scaled, outputs)
        return scaled

    return scale
