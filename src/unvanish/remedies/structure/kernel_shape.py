"""The shape of a network as kernel shaping sees it, read off its layout: layers in a row, and residual sums.

It looks at no values, alters nothing, and knows no activation's formula. How a layout is read:

- Every chosen activation is one layer; weights, dropout, pooling and reshaping between activations map correlations to
  themselves. Each chosen activation puts out signals of mean square 1, and weights keep that (Martens 2021, arXiv 2110.01765).
- Kernel shaping is written for sums w x + sqrt(1 - w^2) F(x), which keep the mean square. A plain sum x + F(x) is taken as what it
  is, not rescaled: with mean squares p and q it has p + q, and maps correlations as the rescaled sum with w^2 = p / (p + q)
  does. So in a row of plain residual blocks w^2 is 1/2, 2/3, 3/4 and so on, and not 1/2 each time, which would need the sum
  divided by sqrt(2). `lengths` tells by what an activation must divide its input instead (as Brock 2021, arXiv 2101.08692, does
  before each branch).
- Of two paths that both have layers, the shorter is taken as common to both: layers m and n >= m, summed, are m in a row and then a
  residual sum around n - m. Slopes and bends at one are the same as those of the sum itself.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeAlias

from torch import nn

from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph, GraphStep
from unvanish.remedies.graph.kinds import ARITHMETIC, WEIGHTED, Kind
from unvanish.theory.subnetworks import Layers, Network, Residual, Sequence, bends

_SUMS = frozenset({"add", "iadd", "sub", "isub", "rsub"})
# They hand on the numbers that they get, some of them, or averages of them.
_PASSING = frozenset({"getitem", "chunk", "split", "unbind", "to", "float", "double", "half", "mean"})
_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)

_Terms: TypeAlias = "tuple[int, _Terms] | None"
"""Positions of what a signal is a sum of: the last layer of each summand, or the network's input."""


class NoShape(Exception):
    """The layout has no shape that kernel shaping speaks of; the message says why."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A network's deepest path from its inputs to an output.

    `lengths` has the mean square of what each chosen activation reads, by position, where inputs have 1. `inner` are the weighted
    layers from which a way leads to a chosen activation, `outer` the others, with the mean square of what they read (1 where that
    is not known).
    """

    network: Network
    lengths: Mapping[int, float]
    inner: frozenset[nn.Module]
    outer: Mapping[nn.Module, float]


@dataclass(frozen=True, slots=True)
class _Path:
    """The maps from the inputs to a signal, the last of them first. `size` counts them, `bend` is that of theory."""

    part: Network
    before: _Path | None
    size: int
    bend: float


@dataclass(frozen=True, slots=True)
class _Signal:
    """What is known of the result of a step.

    `length` is its mean square, `raw` whether it is the network's input, looked up or scaled at most, `straight` whether an
    activation is behind it without a layer in between, so that its mean is not zero. `fault` says why it cannot be read.
    """

    terms: _Terms
    length: float = 1.0
    path: _Path | None = None
    raw: bool = False
    straight: bool = False
    fault: str = ""


def shape_of(layout: ForwardGraph, chosen: Collection[int]) -> Shape:
    """The shape of a traced layout, with activations at the `chosen` positions, at least one.

    Raises NoShape where a chosen activation reads what has no theory: products, attention, recurrences, normalised signals, joints
    other than sums, sums of signals that depend on each other. Behind the last of them anything may stand. Cost: linear in the
    operations, and quadratic, with a small factor, in the residual sums.
    """
    signals: list[_Signal] = []
    reads: list[_Signal] = []
    for position, step in enumerate(layout.steps):
        sources = [signals[s] for s in step.sources if layout.steps[s].op != PARAMETER] or [_Signal((position, None), raw=True)]
        reads.append(sources[0])
        if position in chosen and sources[0].fault:
            raise NoShape(sources[0].fault)
        signals.append(_result(position, layout, sources, position in chosen))
    inner = _layers_before(layout, chosen)
    layers = [(i, step.module) for i, step in enumerate(layout.steps) if isinstance(step.module, WEIGHTED)]
    return Shape(
        _network(layout, signals),
        {position: reads[position].length for position in chosen},
        inner,
        {layer: 1.0 if reads[i].fault else reads[i].length for i, layer in layers if layer not in inner},
    )


def _result(position: int, layout: ForwardGraph, sources: list[_Signal], chosen: bool) -> _Signal:
    step = layout.steps[position]
    if isinstance(step.module, _EMBEDDINGS):
        return _Signal((position, None), raw=True)
    first = sources[0]
    if chosen:
        return _Signal(first.terms, path=_then(first.path, Layers(1)), straight=True)
    if step.kind is Kind.WEIGHT:
        fault = first.fault or _weight_fault(step, layout)
        return replace(first, terms=(position, None), raw=False, straight=False, fault=fault)
    if all(signal.raw for signal in sources):
        return _Signal((position, None), raw=True)
    if _passes(step):
        return first
    if step.op in _SUMS and len(sources) == 2:
        return _sum(sources[0], sources[1], _where(step))
    return _faulty(sources, _fault(step))


def _passes(step: GraphStep) -> bool:
    neutral = step.kind is Kind.NEUTRAL and (step.op not in ARITHMETIC or step.op == "neg")
    return neutral or step.kind is Kind.RESHAPE or step.op in _PASSING


def _sum(one: _Signal, two: _Signal, where: str) -> _Signal:
    fork = _fork(one.path, two.path)
    shorter, longer = sorted((one, two), key=lambda signal: _bend(signal.path))
    few, many = _parts(shorter.path, fork), _parts(longer.path, fork)
    fault = one.fault or two.fault or _dependence(one, two) or _mixture(few, many)
    if fault:
        return _faulty([one, two], fault.format(where=where))
    length = one.length + two.length
    path, rest = fork, many
    if few:
        common = _count(few)
        path = _then(fork, Layers(common))
        rest = _trimmed(many, common)
    if rest:
        path = _then(path, Residual(_in_row(rest), math.sqrt(shorter.length / length)))
    terms = one.terms
    for member in _members(two.terms):
        terms = (member, terms)
    return _Signal(terms, length, path, straight=one.straight or two.straight)


# Why a signal cannot be read; {where} stands for the step.


def _dependence(one: _Signal, two: _Signal) -> str:
    if not set(_members(one.terms)).isdisjoint(_members(two.terms)):
        return "{where} adds signals that depend on each other: no layer stands between them"
    if one.straight and two.straight:
        return "{where} adds the results of two activations, whose means add up; end one of the paths in a layer"
    return ""


def _mixture(few: list[Network], many: list[Network]) -> str:
    plain = all(type(part) is Layers for part in (*few, *many))
    return "" if plain or not few else "{where} adds two paths that both have layers, and sums besides"


def _weight_fault(step: GraphStep, layout: ForwardGraph) -> str:
    if step.module is None or not isinstance(step.module, WEIGHTED):
        return f"{_where(step)} is no Linear or convolution layer"
    if len(layout.positions(step.module)) > 1:
        return f"{step.path!r} runs several times, as in a recurrence"
    return ""


def _fault(step: GraphStep) -> str:
    where = _where(step)
    if step.kind is Kind.ACTIVATION:
        return f"{where} stays as it is (it gates a signal, or is the output's own at another place)"
    if step.kind is Kind.NORMALISATION:
        return f"{where} normalises, which fixes the scale of the signal already"
    if step.kind is Kind.PRODUCT:
        return f"{where} multiplies signals"
    if step.kind is Kind.NEUTRAL:
        return f"{where} scales or shifts a signal inside the network, by how much is not known"
    return f"there is no theory of what {where} does to a signal"


def _where(step: GraphStep) -> str:
    return (
        f"{step.op} in {step.path or 'the network itself'}"
        if step.module is None
        else f"{step.path!r} ({type(step.module).__name__})"
    )


def _faulty(sources: list[_Signal], fault: str) -> _Signal:
    """The deepest of some signals, which cannot be read from here on."""
    return replace(max(sources, key=lambda signal: _bend(signal.path)), raw=False, fault=fault)


# Paths


def _then(before: _Path | None, part: Network) -> _Path:
    return _Path(part, before, 1 if before is None else before.size + 1, _bend(before) + bends(part))


def _bend(path: _Path | None) -> float:
    return 0.0 if path is None else path.bend


def _fork(one: _Path | None, two: _Path | None) -> _Path | None:
    """Where two paths part: the last maps that they have in common, or None."""
    while one is not two:
        if one is not None and (two is None or one.size >= two.size):
            one = one.before
        elif two is not None:
            two = two.before
    return one


def _parts(path: _Path | None, fork: _Path | None) -> list[Network]:
    """The maps of a path behind a fork, in order."""
    found: list[Network] = []
    while path is not None and path is not fork:
        found.append(path.part)
        path = path.before
    return found[::-1]


def _count(parts: list[Network]) -> int:
    return sum(part.count for part in parts if isinstance(part, Layers))


def _trimmed(parts: list[Network], count: int) -> list[Network]:
    """What is left of layers in a row without the first `count`."""
    left = _count(parts) - count
    return [Layers(left)] if left else []


def _in_row(parts: list[Network]) -> Network:
    """One network of several, neighbouring layers in one piece."""
    merged: list[Network] = []
    for plain, group in groupby(parts, key=lambda part: type(part) is Layers):
        several = list(group)
        merged.extend([Layers(_count(several))] if plain else several)
    return merged[0] if len(merged) == 1 else Sequence(tuple(merged))


def _members(terms: _Terms) -> Iterator[int]:
    while terms is not None:
        yield terms[0]
        terms = terms[1]


# The whole


def _network(layout: ForwardGraph, signals: list[_Signal]) -> Network:
    """The deepest path to an output; where activations lead to none, the deepest of all."""
    outputs = [source for step in layout.steps if step.op == "output" for source in step.sources]
    ends = outputs or [position for position, consumers in enumerate(layout.consumers) if not consumers]
    deepest = max((signals[end].path for end in ends), key=_bend, default=None)
    return _in_row(_parts(deepest or max((signal.path for signal in signals), key=_bend), None))


def _layers_before(layout: ForwardGraph, chosen: Collection[int]) -> frozenset[nn.Module]:
    """The weighted layers from which a way leads to a chosen activation."""
    leads = [False] * len(layout.steps)
    found: set[nn.Module] = set()
    for position in reversed(range(len(layout.steps))):
        module = layout.steps[position].module
        leads[position] = position in chosen or any(leads[consumer] for consumer in layout.consumers[position])
        if leads[position] and isinstance(module, WEIGHTED):
            found.add(module)
    return frozenset(found)
