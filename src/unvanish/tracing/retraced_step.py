"""A step that has just run, run once more on a copy of its network with the gradient that it really had, and traced."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from unvanish.record.flow import GradientFlow
from unvanish.record.structure import Location
from unvanish.tracing.flops import step_flops
from unvanish.tracing.inputs_and_loss import Arguments
from unvanish.tracing.jacobian.spectra import with_orthogonality
from unvanish.tracing.tracer import trace

LARGEST_BYTES = 2**30  # of parameters: a larger network is not copied beside itself


class NotRetraceable(Exception):
    """The step cannot be run again; the message says why. It never leaves the package."""


@dataclass(frozen=True, slots=True)
class RetracedStep:
    """What a second run of the step shows: the gradient's flow, and how many floating point operations it takes (None: unknown)."""

    flow: GradientFlow
    flops: int | None


def retrace_step(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    seeds: Mapping[int, Tensor],
    casts: Sequence[tuple[str, torch.dtype]],
    births: Callable[[str], Location | None],
) -> RetracedStep:
    """The flow of the step, and what it takes.

    `seeds` are the gradients at the output's tensors by their place among them, `casts` the automatic casts of the step by device
    type, `births` the lines that built modules, by path. Raises Unlookable where the network cannot be copied or run again, and
    TraceError as `trace` does. Nothing that the copy prints is seen. Memory: the network once more, and its forward pass.
    """
    if sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()) > LARGEST_BYTES:
        raise NotRetraceable("the network is too large to be copied")
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        raise NotRetraceable("the network is one of several that wait for each other")
    try:
        twin = copy.deepcopy(model)
    except Exception as fault:  # whatever a network holds may refuse to be copied, in its own way
        raise NotRetraceable(f"the network cannot be copied ({type(fault).__name__}: {fault})") from fault
    paths = {module: path for path, module in twin.named_modules()}
    with ExitStack() as stack:
        for kind, dtype in casts:
            stack.enter_context(torch.autocast(kind, dtype=dtype))
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(redirect_stderr(io.StringIO()))
        call = Arguments(args, kwargs)
        flow = _traced(twin, call, seeds, lambda module: births(paths.get(module, "")))
        flops = step_flops(twin, call, seeds)
    # The loss was only a stand-in; its own operations say nothing about the script's.
    return RetracedStep(with_orthogonality(replace(flow, loss_ops=(), loss_junctions=(), loss_ends=0.0), twin), flops)


def _traced(
    twin: nn.Module, call: Arguments, seeds: Mapping[int, Tensor], births: Callable[[nn.Module], Location | None]
) -> GradientFlow:
    def loss(outputs: Any) -> Tensor:
        tensors = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
        parts = [(tensors[place].double() * seed.double()).sum() for place, seed in seeds.items()]
        return torch.stack(parts).sum()

    try:
        return trace(twin, call, loss, births=births)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as fault:  # it is the user's code that runs again
        raise NotRetraceable(f"the step cannot be run again ({type(fault).__name__}: {fault})") from fault
