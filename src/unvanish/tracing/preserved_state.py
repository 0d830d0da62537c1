"""Leaves the network and the program as they were: buffers, random state, gradient mode, compiled code, checkpointing."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.checkpoint as checkpointing
from torch import nn

# torch warns that global hooks fire once more for the wrapper of a compiled module: ours know that, and the user did not set them.
GLOBAL_HOOKS = r"Using `torch\.compile\(module\)` when there are global hooks on modules"


@contextmanager
def preserved_state(model: nn.Module) -> Generator[None]:
    """Whatever runs inside, buffers and random states are afterwards as before, bit for bit."""
    kept = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    python, numpy = random.getstate(), sys.modules.get("numpy")
    drawn = numpy.random.get_state() if numpy is not None else None
    try:
        with torch.random.fork_rng(devices), torch.inference_mode(False), torch.enable_grad(), _eager(), _open_checkpoints():
            yield
    finally:
        random.setstate(python)
        if numpy is not None:
            numpy.random.set_state(drawn)
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


def within_engine(run: Callable[[], None]) -> None:
    """Calls `run` in the middle of a backward pass of torch's own, so that what checkpoints recompute is kept until it ends."""
    bell = torch.zeros((), requires_grad=True)
    faults: list[BaseException] = []

    def ring(_gradient: Any) -> None:
        try:
            run()
        except BaseException as fault:  # the engine would wrap it
            faults.append(fault)

    struck = bell.clone()
    struck.register_hook(ring)
    struck.backward()  # not autograd.grad: in a pass for some inputs only, nodes that lead to none of them compute nothing
    if faults:
        raise faults[0]


@contextmanager
def _eager() -> Generator[None]:
    """Compiled code runs eagerly. The compiler is not loaded for that, since it takes seconds."""
    if "torch._dynamo.eval_frame" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", GLOBAL_HOOKS, UserWarning)
        yield


class _Transparent:
    """Stands in for reentrant checkpointing, whose one node would hide what is inside."""

    @staticmethod
    def apply(function: Callable[..., Any], _preserve: bool, *args: Any) -> Any:
        return function(*args)


@contextmanager
def _open_checkpoints() -> Generator[None]:
    original = checkpointing.CheckpointFunction
    checkpointing.CheckpointFunction = _Transparent  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        checkpointing.CheckpointFunction = original
