"""The gradient's size at outputs, target and parameters by plain autograd, to compare traces with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from network_cases import NetworkCase
from torch import Tensor
from torch.utils import _pytree as pytree

from unvanish.record.gradient_flow import GradientFlow
from unvanish.tracing import trace


@dataclass(frozen=True)
class AutogradSizes:
    """log10 RMS of the gradient at the outputs, at the target and at every parameter."""

    source: float
    target: float
    parameters: dict[str, float]


def log10_rms(*tensors: Tensor) -> float:
    """Over all elements together, in float64, relative to the largest, since squares underflow early."""
    values = torch.cat([tensor.detach().double().flatten() for tensor in tensors])
    largest = float(values.abs().max())
    return math.log10(largest) + 0.5 * math.log10(float((values / largest).square().mean())) if largest else -math.inf


def sizes_by_autograd(case: NetworkCase, to: str | None = None) -> AutogradSizes:
    """In two steps: the loss alone down to detached outputs, then the network alone."""
    reached: list[Tensor] = []

    def fresh(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        leaf = value.detach().clone().requires_grad_()
        reached.append(leaf)
        return leaf.clone()

    inputs = pytree.tree_map(fresh, case.inputs)
    case.model.zero_grad()
    outputs = case.model(**inputs) if isinstance(inputs, dict) else case.model(inputs)
    parts = pytree.tree_leaves(outputs)
    ends = [part.detach().requires_grad_() for part in parts]
    remaining = iter(ends)
    case.loss(pytree.tree_map(lambda _: next(remaining), outputs)).backward()
    torch.autograd.backward(parts, [end.grad for end in ends])
    targets = reached if to is None else [case.model.get_parameter(to)]
    own = {name: log10_rms(*gradients([parameter])) for name, parameter in case.model.named_parameters()}
    sizes = AutogradSizes(log10_rms(*gradients(ends)), log10_rms(*gradients(targets)), own)
    case.model.zero_grad()
    return sizes


def gradients(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.grad for tensor in tensors if tensor.grad is not None]


def trace_case(case: NetworkCase, to: str | None = None) -> GradientFlow:
    return trace(case.model, case.inputs, case.loss, to=to)


def sum_of_loss_terms(flow: GradientFlow) -> float:
    """The terms of the loss, added up."""
    ops = sum(op.decades + op.size for op in flow.loss_ops)
    return ops + sum(j.split + j.interference for j in flow.loss_junctions) + flow.loss_ends
