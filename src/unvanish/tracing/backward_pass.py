"""Runs the backward pass node by node and measures the size of every gradient as a logarithm, without underflow or overflow.

A gradient is a tensor and a power of two. While sizes stay in the range of their dtype the tensors are those of torch's own
backward pass; where they leave it the power takes over, which is exact because every node is linear in its gradient. No `.grad` is
touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unvanish.tracing.autograd_graph import AutogradGraph, Edge, Node, Port
from unvanish.tracing.log_magnitude import LOG10_2, log10_rms, rescaling_exponent

Hook = Callable[[Tensor], "Tensor | None"]


@dataclass(slots=True)
class ScaledGradient:
    """The gradient `tensor` * 2 ** `exponent`, and log10 of its RMS. `owned` tensors may be added to in place."""

    tensor: Tensor
    exponent: int
    log10_rms: float
    owned: bool = False


@dataclass(slots=True)
class BackwardSizes:
    """The sizes that a backward pass measured.

    `contributions` is log10 of the RMS of what each edge carries, `totals` that of the gradient of each tensor, `elements` the
    number of elements of each tensor. `kept_gradients` are the contributions of the edges that were asked for. `first_non_finite`
    is the first node that sent on values that are not finite, though it received none.
    """

    contributions: dict[Edge, float] = field(default_factory=dict[Edge, float])
    totals: dict[Port, float] = field(default_factory=dict[Port, float])
    elements: dict[Port, int] = field(default_factory=dict[Port, int])
    kept_gradients: dict[Edge, ScaledGradient] = field(default_factory=dict[Edge, ScaledGradient])
    first_non_finite: int | None = None


def backpropagate(
    graph: AutogradGraph,
    initial_gradients: dict[Port, list[ScaledGradient]],
    *,
    is_included: Callable[[int], bool] = lambda _: True,
    kept_edges: frozenset[Edge] = frozenset(),
    hooks: dict[Port, list[Hook]] | None = None,
    argument_positions: dict[Node, tuple[int, ...]] | None = None,
) -> BackwardSizes:
    """Sends the initial gradients back through the nodes of the graph that are included, by index.

    `kept_edges` are the edges whose contributions are kept as tensors. `hooks` are the user's own on tensors.
    `argument_positions` says which arguments of a custom function were tensors. Must run inside a pass of torch's engine for
    checkpoints to be recomputed once only. Cost: each node's own, and a norm for every edge.
    """
    result = BackwardSizes()
    gradients: dict[Port, ScaledGradient] = {}
    pending: dict[int, list[int]] = {}  # output numbers of the gradients that wait for a node

    def add(port: Port, gradient: ScaledGradient) -> None:
        present = gradients.get(port)
        if present is None:
            pending.setdefault(port[0], []).append(port[1])
        gradients[port] = gradient if present is None else _add(present, gradient)

    for port, parts in initial_gradients.items():
        for part in parts:
            add(port, part)
    with torch.no_grad():
        for index, node in enumerate(graph.nodes):
            numbers = pending.pop(index, None)
            if numbers is None:
                continue
            totals = {n: _finish_total(gradients.pop((index, n)), (hooks or {}).get((index, n))) for n in numbers}
            for number, total in totals.items():
                result.totals[index, number] = total.log10_rms
                result.elements[index, number] = total.tensor.numel()
            if graph.is_leaf[index] or not is_included(index):
                continue
            for slot, gradient in enumerate(_run_node(node, totals, argument_positions or {})):
                port = graph.inputs[index][slot]
                if port is None or gradient is None:
                    continue
                contribution = _measure_contribution(graph.nodes[port[0]], port[1], gradient, totals)
                result.contributions[index, slot] = contribution.log10_rms
                if math.isnan(contribution.log10_rms) and result.first_non_finite is None:
                    result.first_non_finite = index
                if (index, slot) in kept_edges:
                    result.kept_gradients[index, slot] = contribution
                add(port, contribution)
    return result


def initial_gradient(tensor: Tensor) -> ScaledGradient:
    """A tensor as a gradient, with its size."""
    return ScaledGradient(tensor, 0, log10_rms(tensor))


def _run_node(
    node: Node, totals: dict[int, ScaledGradient], positions: dict[Node, tuple[int, ...]]
) -> list[tuple[Tensor, int] | None]:
    """What a node sends along each of its inputs for the gradients of its outputs, with their common exponent."""
    exponent = max(total.exponent for total in totals.values())
    metadata = node._input_metadata
    gradients: list[Tensor | None] = [None] * len(metadata)
    for number, total in totals.items():
        lag = total.exponent - exponent
        gradients[number] = total.tensor * 2.0**lag if lag else total.tensor
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        results = _run_custom_function(node, gradients, metadata, positions)
    else:
        returned = node(*gradients)
        results = returned if isinstance(returned, tuple) else (returned,)
    return [None if tensor is None else (tensor, exponent) for tensor in results]


def _run_custom_function(
    node: Any, gradients: list[Tensor | None], metadata: Any, positions: dict[Node, tuple[int, ...]]
) -> tuple[Tensor | None, ...]:
    """The gradients of a custom function's tensors. Its backward returns one for every argument, and expects zeros for none."""
    if getattr(node, "materialize_grads", True):
        gradients = [
            torch.zeros(tuple(meta.shape), dtype=meta.dtype, device=meta.device) if gradient is None else gradient
            for gradient, meta in zip(gradients, metadata, strict=True)
        ]
    returned = node.apply(*gradients)
    results = list(returned) if isinstance(returned, tuple | list) else [returned]
    count = len(node.next_functions)
    if len(results) == count:
        return tuple(results)
    if node in positions:
        return tuple(results[i] if i < len(results) else None for i in positions[node])[:count]
    return tuple([gradient for gradient in results if gradient is not None][:count])


def _measure_contribution(
    receiver: Node, number: int, gradient: tuple[Tensor, int], totals: dict[int, ScaledGradient]
) -> ScaledGradient:
    """A contribution as its receiver takes it: summed over what was broadcast, in its dtype, with its size."""
    tensor, exponent = gradient
    meta = receiver._input_metadata[number]
    if tensor.shape != meta.shape and not tensor.is_sparse:
        tensor = tensor.sum_to_size(tuple(meta.shape))
    if tensor.dtype != meta.dtype:
        tensor = tensor.to(meta.dtype)
    for total in totals.values():
        same = total.exponent == exponent and total.tensor.layout == tensor.layout == torch.strided
        if same and tensor.numel() == total.tensor.numel() and tensor.data_ptr() == total.tensor.data_ptr():
            return ScaledGradient(tensor, exponent, total.log10_rms)  # passed through, or a view of the same values
    return ScaledGradient(tensor, exponent, log10_rms(tensor) + exponent * LOG10_2)


def _add(first: ScaledGradient, second: ScaledGradient) -> ScaledGradient:
    """The sum of two contributions. Only sums are added to in place: single contributions may be one tensor under two names."""
    if first.exponent < second.exponent:
        first, second = second, first
    lag = second.exponent - first.exponent
    if first.owned and not first.tensor.is_sparse:
        return ScaledGradient(first.tensor.add_(second.tensor, alpha=2.0**lag), first.exponent, math.nan, owned=True)
    return ScaledGradient(torch.add(first.tensor, second.tensor, alpha=2.0**lag), first.exponent, math.nan, owned=True)


def _finish_total(total: ScaledGradient, hooks: list[Hook] | None) -> ScaledGradient:
    """A tensor's gradient with its size, after the user's hooks, scaled back into the range of its dtype where it has left it."""
    if hooks:
        total = _apply_hooks(total, hooks)
    size = log10_rms(total.tensor) if total.owned else total.log10_rms - total.exponent * LOG10_2
    shift = rescaling_exponent(size, total.tensor.dtype)
    tensor = torch.ldexp(total.tensor, torch.tensor(-shift)) if shift else total.tensor
    return ScaledGradient(tensor, total.exponent + shift, size + total.exponent * LOG10_2)


def _apply_hooks(total: ScaledGradient, hooks: list[Hook]) -> ScaledGradient:
    """The gradient after the user's hooks, which get its true value as far as its dtype can hold that."""
    gradient = torch.ldexp(total.tensor, torch.tensor(total.exponent)) if total.exponent else total.tensor
    for hook in hooks:
        changed = hook(gradient)
        gradient = gradient if changed is None else changed
    return ScaledGradient(gradient, 0, log10_rms(gradient), owned=True)
