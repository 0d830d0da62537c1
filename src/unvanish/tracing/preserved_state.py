"""Runs a network so that buffers, random states, gradient mode, compiled code and checkpointing are afterwards as before."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from unvanish.network.checkpoints import inline_checkpoints
from unvanish.network.compiled_code import GLOBAL_HOOKS_WARNING, is_compiler_loaded
from unvanish.network.random_state import preserved_random_state


@contextmanager
def preserved_state(model: nn.Module) -> Generator[None]:
    """Restores the model's buffers and every random state at the end, bit for bit, whatever runs inside.

    Inside, gradients are on, compiled code runs eagerly, and checkpointed code runs as if it were not checkpointed by the reentrant
    variant, whose one node would hide what it runs.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> with preserved_state(norm):
        ...     _ = norm(torch.randn(8, 2))
        >>> norm.running_mean, norm.num_batches_tracked
        (tensor([0., 0.]), tensor(0))
    """
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    devices = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    try:
        with (
            preserved_random_state(devices),
            torch.inference_mode(False),
            torch.enable_grad(),
            _eager_compiled_code(),
            inline_checkpoints(),
        ):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def run_inside_backward(run: Callable[[], None]) -> None:
    """Calls `run` in the middle of a backward pass of torch's own, so that what checkpoints recompute is kept until it ends.

    Raises what `run` raises.
    """
    leaf = torch.zeros((), requires_grad=True)
    faults: list[BaseException] = []

    def hook(_gradient: Any) -> None:
        try:
            run()
        except BaseException as fault:  # the engine would wrap it
            faults.append(fault)

    output = leaf.clone()
    output.register_hook(hook)
    output.backward()  # not autograd.grad: in a pass for some inputs only, nodes that lead to none of them compute nothing
    if faults:
        raise faults[0]


@contextmanager
def _eager_compiled_code() -> Generator[None]:
    """Compiled code runs eagerly. The compiler is not loaded for that, since it takes seconds."""
    if not is_compiler_loaded():
        yield
        return
    with torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", GLOBAL_HOOKS_WARNING, UserWarning)
        yield
