"""Reads the nested structure of layers and residual sums, which kernel shaping needs, from a forward graph.

- Every tailored activation is one layer; weights, dropout, pooling and reshaping between activations map correlations to
  themselves. Each tailored activation has outputs of mean square 1, and weights keep that (Martens 2021, arXiv 2110.01765).
- Kernel shaping is derived for sums w x + sqrt(1 - w^2) F(x), which keep the mean square. A plain sum x + F(x) is not rescaled:
  with mean squares p and q it has p + q, and maps correlations as the rescaled sum with w^2 = p / (p + q) does. So in a row of
  plain residual blocks w^2 is 1/2, 2/3, 3/4 and so on, and not 1/2 each time, which would need the sum divided by sqrt(2).
  Instead an activation divides its input by the root of its mean square, as Brock 2021, arXiv 2101.08692, does before each branch.
- Of two paths that both have layers, the shorter is taken as common to both: the sum of m and n >= m layers counts as m in a row
  and then a residual sum around n - m. First and second derivatives at one are the same as those of the sum itself.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeAlias

from torch import nn

from unvanish.network.module_kinds import EMBEDDINGS, WEIGHTED
from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph, GraphStep
from unvanish.remedies.graph.signal_kinds import ARITHMETIC, Kind
from unvanish.theory.shaped_networks import Layers, Network, Residual, Sequential, curvature_at_one

_SUM_CALLS = frozenset({"add", "iadd", "sub", "isub", "rsub"})
# They return their input, a part of it, or an average of it.
_TRANSPARENT_CALLS = frozenset({"getitem", "chunk", "split", "unbind", "to", "float", "double", "half", "mean"})

_Summands: TypeAlias = "tuple[int, _Summands] | None"
"""A linked list of positions: of each summand of a signal, its last layer, or the network's input."""


class NoKernelShape(Exception):
    """Kernel shaping has no theory for a network of this structure; the message says why."""


@dataclass(frozen=True, slots=True)
class KernelShape:
    """A network's deepest path from its inputs to an output, and the size of signals along it, for inputs of mean square 1.

    Arguments:
        network: the layers and residual sums of that path.
        mean_squares: mean square of the input of each tailored activation, by position.
        inner_layers: the weighted layers from which a path leads to a tailored activation.
        outer_layers: the other weighted layers, with the mean square of their input (1 where that is unknown).
    """

    network: Network
    mean_squares: Mapping[int, float]
    inner_layers: frozenset[nn.Module]
    outer_layers: Mapping[nn.Module, float]


@dataclass(frozen=True, slots=True)
class _Path:
    """The maps from the inputs to a signal, as a linked list from the last. `curvature` is the sum of `curvature_at_one`."""

    part: Network
    previous: _Path | None
    size: int
    curvature: float


@dataclass(frozen=True, slots=True)
class _Signal:
    """What is known of the result of a step.

    Arguments:
        summands: positions of what it is a sum of.
        mean_square: its mean square.
        path: the maps from the inputs to it.
        is_input: whether it is the network's input, embedded or scaled at most.
        has_nonzero_mean: whether an activation comes before it without a layer in between.
        problem: why there is no theory for it; empty where there is.
    """

    summands: _Summands
    mean_square: float = 1.0
    path: _Path | None = None
    is_input: bool = False
    has_nonzero_mean: bool = False
    problem: str = ""


def kernel_shape(graph: ForwardGraph, activation_positions: Collection[int]) -> KernelShape:
    """The shape of a traced graph whose activations at `activation_positions`, at least one, are tailored.

    Raises NoKernelShape where a tailored activation's input has no theory: products, attention, recurrences, normalised signals,
    joints other than sums, sums of signals that depend on each other. After the last of them anything may follow. Cost: linear in
    the operations, and quadratic, with a small factor, in the residual sums.

    Example:
        >>> from torch import nn
        >>> from unvanish.remedies.graph.trace_graph import trace_graph
        >>> graph = trace_graph(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)))
        >>> kernel_shape(graph, [2, 4]).network
        Layers(count=2)
    """
    signals: list[_Signal] = []
    first_sources: list[_Signal] = []
    for position, step in enumerate(graph.steps):
        sources = [signals[source] for source in step.sources if graph.steps[source].op != PARAMETER]
        sources = sources or [_Signal((position, None), is_input=True)]
        first_sources.append(sources[0])
        if position in activation_positions and sources[0].problem:
            raise NoKernelShape(sources[0].problem)
        signals.append(_output_signal(position, graph, sources, position in activation_positions))
    inner_layers = _layers_leading_to(graph, activation_positions)
    layers = [(position, step.module) for position, step in enumerate(graph.steps) if isinstance(step.module, WEIGHTED)]
    return KernelShape(
        _deepest_network(graph, signals),
        {position: first_sources[position].mean_square for position in activation_positions},
        inner_layers,
        {
            layer: 1.0 if first_sources[position].problem else first_sources[position].mean_square
            for position, layer in layers
            if layer not in inner_layers
        },
    )


def _output_signal(position: int, graph: ForwardGraph, sources: list[_Signal], is_tailored: bool) -> _Signal:
    step = graph.steps[position]
    if isinstance(step.module, EMBEDDINGS):
        return _Signal((position, None), is_input=True)
    first = sources[0]
    if is_tailored:
        return _Signal(first.summands, path=_extend(first.path, Layers(1)), has_nonzero_mean=True)
    if step.kind is Kind.WEIGHT:
        problem = first.problem or _weight_problem(step, graph)
        return replace(first, summands=(position, None), is_input=False, has_nonzero_mean=False, problem=problem)
    if all(signal.is_input for signal in sources):
        return _Signal((position, None), is_input=True)
    if _passes_signal_on(step):
        return first
    if step.op in _SUM_CALLS and len(sources) == 2:
        return _sum_signals(sources[0], sources[1], _describe_step(step))
    return _unreadable(sources, _step_problem(step))


def _passes_signal_on(step: GraphStep) -> bool:
    is_neutral = step.kind is Kind.NEUTRAL and (step.op not in ARITHMETIC or step.op == "neg")
    return is_neutral or step.kind is Kind.RESHAPE or step.op in _TRANSPARENT_CALLS


def _sum_signals(first: _Signal, second: _Signal, description: str) -> _Signal:
    common = _common_path(first.path, second.path)
    shorter, longer = sorted((first, second), key=lambda signal: _curvature(signal.path))
    short_parts, long_parts = _parts_after(shorter.path, common), _parts_after(longer.path, common)
    problem = first.problem or second.problem or _dependence_problem(first, second) or _mixture_problem(short_parts, long_parts)
    if problem:
        return _unreadable([first, second], problem.format(where=description))
    mean_square = first.mean_square + second.mean_square
    path, remaining = common, long_parts
    if short_parts:
        common_layers = _layer_count(short_parts)
        path = _extend(common, Layers(common_layers))
        remaining = _without_first(long_parts, common_layers)
    if remaining:
        path = _extend(path, Residual(_sequence_of(remaining), math.sqrt(shorter.mean_square / mean_square)))
    summands = first.summands
    for position in _iterate_positions(second.summands):
        summands = (position, summands)
    return _Signal(summands, mean_square, path, has_nonzero_mean=first.has_nonzero_mean or second.has_nonzero_mean)


# Why there is no theory for a signal; {where} is replaced by the description of the step.


def _dependence_problem(first: _Signal, second: _Signal) -> str:
    if not set(_iterate_positions(first.summands)).isdisjoint(_iterate_positions(second.summands)):
        return "{where} adds signals that depend on each other: no layer stands between them"
    if first.has_nonzero_mean and second.has_nonzero_mean:
        return "{where} adds the results of two activations, whose means add up; end one of the paths in a layer"
    return ""


def _mixture_problem(short_parts: list[Network], long_parts: list[Network]) -> str:
    are_plain = all(type(part) is Layers for part in (*short_parts, *long_parts))
    return "" if are_plain or not short_parts else "{where} adds two paths that both have layers, and sums besides"


def _weight_problem(step: GraphStep, graph: ForwardGraph) -> str:
    if step.module is None or not isinstance(step.module, WEIGHTED):
        return f"{_describe_step(step)} is no Linear or convolution layer"
    if len(graph.positions(step.module)) > 1:
        return f"{step.path!r} runs several times, as in a recurrence"
    return ""


def _step_problem(step: GraphStep) -> str:
    description = _describe_step(step)
    if step.kind is Kind.ACTIVATION:
        return f"{description} stays as it is (it gates a signal, or is the output's own at another place)"
    if step.kind is Kind.NORMALISATION:
        return f"{description} normalises, which fixes the scale of the signal already"
    if step.kind is Kind.PRODUCT:
        return f"{description} multiplies signals"
    if step.kind is Kind.NEUTRAL:
        return f"{description} scales or shifts a signal inside the network, by how much is not known"
    return f"there is no theory of what {description} does to a signal"


def _describe_step(step: GraphStep) -> str:
    return (
        f"{step.op} in {step.path or 'the network itself'}"
        if step.module is None
        else f"{step.path!r} ({type(step.module).__name__})"
    )


def _unreadable(sources: list[_Signal], problem: str) -> _Signal:
    """The deepest of some signals, marked with a problem."""
    return replace(max(sources, key=lambda signal: _curvature(signal.path)), is_input=False, problem=problem)


# Paths


def _extend(previous: _Path | None, part: Network) -> _Path:
    return _Path(part, previous, 1 if previous is None else previous.size + 1, _curvature(previous) + curvature_at_one(part))


def _curvature(path: _Path | None) -> float:
    return 0.0 if path is None else path.curvature


def _common_path(first: _Path | None, second: _Path | None) -> _Path | None:
    """What two paths have in common: the path to where they part, or None."""
    while first is not second:
        if first is not None and (second is None or first.size >= second.size):
            first = first.previous
        elif second is not None:
            second = second.previous
    return first


def _parts_after(path: _Path | None, common: _Path | None) -> list[Network]:
    """The maps of a path after its part `common`, in order."""
    parts: list[Network] = []
    while path is not None and path is not common:
        parts.append(path.part)
        path = path.previous
    return parts[::-1]


def _layer_count(parts: list[Network]) -> int:
    return sum(part.count for part in parts if isinstance(part, Layers))


def _without_first(parts: list[Network], count: int) -> list[Network]:
    """Layers in a row without the first `count`."""
    remaining_count = _layer_count(parts) - count
    return [Layers(remaining_count)] if remaining_count else []


def _sequence_of(parts: list[Network]) -> Network:
    """One network of several in sequence, with neighbouring layers merged."""
    merged: list[Network] = []
    for is_plain, group in groupby(parts, key=lambda part: type(part) is Layers):
        same_kind = list(group)
        merged.extend([Layers(_layer_count(same_kind))] if is_plain else same_kind)
    return merged[0] if len(merged) == 1 else Sequential(tuple(merged))


def _iterate_positions(summands: _Summands) -> Iterator[int]:
    while summands is not None:
        yield summands[0]
        summands = summands[1]


# The network


def _deepest_network(graph: ForwardGraph, signals: list[_Signal]) -> Network:
    """The deepest path to an output; where no activation leads to one, the deepest path of all."""
    outputs = [source for step in graph.steps if step.op == "output" for source in step.sources]
    end_positions = outputs or [position for position, consumers in enumerate(graph.consumers) if not consumers]
    deepest = max((signals[end].path for end in end_positions), key=_curvature, default=None)
    return _sequence_of(_parts_after(deepest or max((signal.path for signal in signals), key=_curvature), None))


def _layers_leading_to(graph: ForwardGraph, activation_positions: Collection[int]) -> frozenset[nn.Module]:
    """The weighted layers from which a path leads to one of `activation_positions`."""
    leads_to_activation = [False] * len(graph.steps)
    layers: set[nn.Module] = set()
    for position in reversed(range(len(graph.steps))):
        module = graph.steps[position].module
        leads_to_activation[position] = position in activation_positions or any(
            leads_to_activation[consumer] for consumer in graph.consumers[position]
        )
        if leads_to_activation[position] and isinstance(module, WEIGHTED):
            layers.add(module)
    return frozenset(layers)
