"""Runs a step that has just run once more on a copy of its network, with the gradients that it really had, and traces it."""

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

from unvanish.network.autocast import autocasting
from unvanish.record.gradient_flow import GradientFlow
from unvanish.record.structure import Location
from unvanish.tracing.flops import step_flops
from unvanish.tracing.inputs_and_loss import CallArguments
from unvanish.tracing.jacobian.spectra import with_orthogonality
from unvanish.tracing.tracer import trace

MAX_PARAMETER_BYTES = 2**30  # a larger network is not copied beside itself


class NotRetraceable(Exception):
    """The step cannot be run again; the message says why. It never leaves the package."""


@dataclass(frozen=True, slots=True)
class RetracedStep:
    """The gradient flow of a step, and how many floating point operations the step takes (None: unknown)."""

    flow: GradientFlow
    flops: int | None


def retrace_step(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    output_gradients: Mapping[int, Tensor],
    autocasts: Sequence[tuple[str, torch.dtype]],
    build_location: Callable[[str], Location | None],
) -> RetracedStep:
    """The gradient flow of a step that has run, and the floating point operations that it takes.

    The network is copied, and the copy runs; what it prints is not shown. Memory: the network once more, and its forward pass.

    Arguments:
        model: the network, as it was when the step ran.
        args, kwargs: the arguments that the step called it with.
        output_gradients: the gradients at the tensors of its output, by their position among these; each has its tensor's shape.
        autocasts: the device types whose autocast was on in the step, with the type cast to.
        build_location: gives the line that built a module, by the module's path; None where it is not known.

    Raises:
        NotRetraceable: where the network cannot be copied or run again.
        TraceError: as `trace` does.

    Example:
        >>> model, inputs = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), torch.ones(3, 4)
        >>> step = retrace_step(model, (inputs,), {}, {0: torch.ones(3, 2)}, (), lambda path: None)
        >>> [op.label for op in step.flow.ops], step.flops
        (['0', '1'], 336)
    """
    if sum(parameter.numel() * parameter.element_size() for parameter in model.parameters()) > MAX_PARAMETER_BYTES:
        raise NotRetraceable("the network is too large to be copied")
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        raise NotRetraceable("the network is one of several that wait for each other")
    try:
        model_copy = copy.deepcopy(model)
    except Exception as fault:  # whatever a network holds may refuse to be copied, in its own way
        raise NotRetraceable(f"the network cannot be copied ({type(fault).__name__}: {fault})") from fault
    paths = {module: path for path, module in model_copy.named_modules()}
    with ExitStack() as stack:
        stack.enter_context(autocasting(autocasts))
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(redirect_stderr(io.StringIO()))
        arguments = CallArguments(args, kwargs)
        flow = _trace_copy(model_copy, arguments, output_gradients, lambda module: build_location(paths.get(module, "")))
        flops = step_flops(model_copy, arguments, output_gradients)
    # The loss only replaced the script's, whose own operations it does not show.
    return RetracedStep(with_orthogonality(replace(flow, loss_ops=(), loss_junctions=(), loss_ends=0.0), model_copy), flops)


def _trace_copy(
    model_copy: nn.Module,
    arguments: CallArguments,
    output_gradients: Mapping[int, Tensor],
    build_location: Callable[[nn.Module], Location | None],
) -> GradientFlow:
    def loss(outputs: Any) -> Tensor:
        """A number whose gradients at the outputs are the step's."""
        tensors = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
        parts = [(tensors[position].double() * gradient.double()).sum() for position, gradient in output_gradients.items()]
        return torch.stack(parts).sum()

    try:
        return trace(model_copy, arguments, loss, build_location=build_location)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as fault:  # it is the user's code that runs again
        raise NotRetraceable(f"the step cannot be run again ({type(fault).__name__}: {fault})") from fault
