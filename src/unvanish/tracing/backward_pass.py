"""The backward pass, run node by node, with every gradient's size as a logarithm: nothing underflows, and no `.grad` is touched.

A gradient is a tensor and a power of two. While sizes stay in the range of their dtype the tensors are those of torch's own
backward pass; where they leave it the power takes over, which is exact because every node is linear in its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unvanish.tracing.autograd_graph import Graph, Node, Port
from unvanish.tracing.log_magnitude import LOG10_2, exponent_outside, log10_rms

Edge = tuple[int, int]  # consumer, place among its inputs
Hook = Callable[[Tensor], "Tensor | None"]


@dataclass(slots=True)
class Scaled:
    """A gradient, tensor times two to the exponent, and log10 of its RMS. `owned` tensors may be added to in place."""

    tensor: Tensor
    exponent: int
    log10_rms: float
    owned: bool = False


@dataclass(slots=True)
class Backward:
    """What a pass measured: log10 of the RMS of every contribution and of every tensor's total, and how many elements tensors have.

    `unsound` is the first node that sent on values that are not finite, though it was given none.
    """

    contributions: dict[Edge, float] = field(default_factory=dict[Edge, float])
    totals: dict[Port, float] = field(default_factory=dict[Port, float])
    elements: dict[Port, int] = field(default_factory=dict[Port, int])
    kept: dict[Edge, Scaled] = field(default_factory=dict[Edge, Scaled])
    unsound: int | None = None


def propagate(
    graph: Graph,
    seeds: dict[Port, list[Scaled]],
    *,
    within: Callable[[int], bool] = lambda _: True,
    keep: frozenset[Edge] = frozenset(),
    hooks: dict[Port, list[Hook]] | None = None,
    argument_places: dict[Node, tuple[int, ...]] | None = None,
) -> Backward:
    """Sends `seeds` back through the graph, by way of nodes that are `within` only.

    `keep` names edges whose contributions are kept as tensors. `hooks` are the user's own on tensors. Must run inside an engine's
    pass for checkpoints to be recomputed once only. Cost: each node's own, and a norm for every edge.
    """
    result = Backward()
    buffers: dict[Port, Scaled] = {}
    by_node: dict[int, list[int]] = {}

    def add(port: Port, gradient: Scaled) -> None:
        present = buffers.get(port)
        if present is None:
            by_node.setdefault(port[0], []).append(port[1])
        buffers[port] = gradient if present is None else _sum(present, gradient)

    for port, gradients in seeds.items():
        for gradient in gradients:
            add(port, gradient)
    with torch.no_grad():
        for place, node in enumerate(graph.nodes):
            numbers = by_node.pop(place, None)
            if numbers is None:
                continue
            totals = {number: _settled(buffers.pop((place, number)), (hooks or {}).get((place, number))) for number in numbers}
            for number, total in totals.items():
                result.totals[place, number] = total.log10_rms
                result.elements[place, number] = total.tensor.numel()
            if graph.leaves[place] or not within(place):
                continue
            for slot, gradient in enumerate(_sent(node, totals, argument_places or {})):
                port = graph.inputs[place][slot]
                if port is None or gradient is None:
                    continue
                contribution = _measured(graph.nodes[port[0]], port[1], gradient, totals)
                result.contributions[place, slot] = contribution.log10_rms
                if math.isnan(contribution.log10_rms) and result.unsound is None:
                    result.unsound = place
                if (place, slot) in keep:
                    result.kept[place, slot] = contribution
                add(port, contribution)
    return result


def seed(tensor: Tensor) -> Scaled:
    """A gradient to begin with."""
    return Scaled(tensor, 0, log10_rms(tensor))


def _sent(node: Node, totals: dict[int, Scaled], places: dict[Node, tuple[int, ...]]) -> list[tuple[Tensor, int] | None]:
    """What a node sends along each of its inputs for the gradients of its outputs, with their common exponent."""
    exponent = max(total.exponent for total in totals.values())
    metadata = node._input_metadata
    given: list[Tensor | None] = [None] * len(metadata)
    for number, total in totals.items():
        lag = total.exponent - exponent
        given[number] = total.tensor * 2.0**lag if lag else total.tensor
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        sent = _custom(node, given, metadata, places)
    else:
        answer = node(*given)
        sent = answer if isinstance(answer, tuple) else (answer,)
    return [None if tensor is None else (tensor, exponent) for tensor in sent]


def _custom(node: Any, given: list[Tensor | None], metadata: Any, places: dict[Node, tuple[int, ...]]) -> tuple[Tensor | None, ...]:
    """The gradients of a custom function's tensors. Its backward answers for every argument, and expects zeros for none."""
    if getattr(node, "materialize_grads", True):
        given = [
            torch.zeros(tuple(meta.shape), dtype=meta.dtype, device=meta.device) if gradient is None else gradient
            for gradient, meta in zip(given, metadata, strict=True)
        ]
    answer = node.apply(*given)
    sent = list(answer) if isinstance(answer, tuple | list) else [answer]
    wanted = len(node.next_functions)
    if len(sent) == wanted:
        return tuple(sent)
    if node in places:
        return tuple(sent[i] if i < len(sent) else None for i in places[node])[:wanted]
    return tuple([gradient for gradient in sent if gradient is not None][:wanted])


def _measured(receiver: Node, number: int, sent: tuple[Tensor, int], totals: dict[int, Scaled]) -> Scaled:
    """A contribution as its receiver takes it: summed over what was broadcast, in its dtype, with its size."""
    tensor, exponent = sent
    meta = receiver._input_metadata[number]
    if tensor.shape != meta.shape and not tensor.is_sparse:
        tensor = tensor.sum_to_size(tuple(meta.shape))
    if tensor.dtype != meta.dtype:
        tensor = tensor.to(meta.dtype)
    for total in totals.values():
        same = total.exponent == exponent and total.tensor.layout == tensor.layout == torch.strided
        if same and tensor.numel() == total.tensor.numel() and tensor.data_ptr() == total.tensor.data_ptr():
            return Scaled(tensor, exponent, total.log10_rms)  # handed through or seen from another side
    return Scaled(tensor, exponent, log10_rms(tensor) + exponent * LOG10_2)


def _sum(first: Scaled, second: Scaled) -> Scaled:
    """Both contributions added. Only sums are added to in place: single contributions may be one tensor under two names."""
    if first.exponent < second.exponent:
        first, second = second, first
    lag = second.exponent - first.exponent
    if first.owned and not first.tensor.is_sparse:
        return Scaled(first.tensor.add_(second.tensor, alpha=2.0**lag), first.exponent, math.nan, owned=True)
    return Scaled(torch.add(first.tensor, second.tensor, alpha=2.0**lag), first.exponent, math.nan, owned=True)


def _settled(total: Scaled, hooks: list[Hook] | None) -> Scaled:
    """A total with its size, after the user's hooks, scaled back into the range of its dtype where it has left it."""
    if hooks:
        total = _hooked(total, hooks)
    size = log10_rms(total.tensor) if total.owned else total.log10_rms - total.exponent * LOG10_2
    shift = exponent_outside(size, total.tensor.dtype)
    tensor = torch.ldexp(total.tensor, torch.tensor(-shift)) if shift else total.tensor
    return Scaled(tensor, total.exponent + shift, size + total.exponent * LOG10_2)


def _hooked(total: Scaled, hooks: list[Hook]) -> Scaled:
    """The total as the user's hooks leave it: they see its true value, as far as its dtype can hold that."""
    gradient = torch.ldexp(total.tensor, torch.tensor(total.exponent)) if total.exponent else total.tensor
    for hook in hooks:
        changed = hook(gradient)
        gradient = gradient if changed is None else changed
    return Scaled(gradient, 0, log10_rms(gradient), owned=True)
