"""What one sampled step shows: every site that ran, in order, with numbers about its outputs and their gradients.

It keeps numbers, not tensors: an output lives as long as the user's own program lets it. The last few that a network put out are
the exception, until the next backward.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import FrameType

import numpy as np
from torch import Tensor, nn

from unvanish.observe.head.criteria import NodeKey
from unvanish.observe.statistics.tensor_statistics import (
    Number,
    SlopeSample,
    describe,
    log10_rms,
    row_spreads,
    settle,
    slope_numbers,
)
from unvanish.observe.structure.model_index import ModelIndex, SiteKey
from unvanish.record.reading import Axis, Reading, Vector, quantities

DESCRIBED = ("activation_mean", "activation_std", "zero_fraction", "example_cosine", "example_spread")


@dataclass(slots=True)
class SiteStatistics:
    """All calls of one site within a step. `means` are numbers by quantity, of which the mean over the calls is the site's."""

    index: int
    samples: list[Tensor] = field(default_factory=list)
    nonfinite: list[Number] = field(default_factory=list)
    means: dict[str, list[Number]] = field(default_factory=dict)
    slopes: list[SlopeSample] = field(default_factory=list)
    gradients: list[tuple[Number, int]] = field(default_factory=list)

    def add(self, numbers: Mapping[str, Number]) -> None:
        """Takes in the numbers of one call, by the names of their quantities."""
        for name, value in numbers.items():
            self.means.setdefault(name, []).append(value)


@dataclass(slots=True)
class ParameterUpdate:
    """One parameter at one step: norms of weight, gradient and update, and a sample of its rows if it is a matrix.

    The gradient has `size` elements; weight and update are measured on `excerpt` of them.
    """

    size: int
    excerpt: int
    weight: Number = math.nan
    gradient: Number = math.nan
    update: Number = math.nan
    sample: Tensor | None = None
    agreement: Number = math.nan
    along: Number = math.nan
    left: tuple[Number, int] | None = None  # norm and size of the gradient that the last backward before the update left
    stale: tuple[Number, Number] = (math.nan, math.nan)  # norms of the first elements: held from the step before, and used


class Capture:
    """The sampled step in progress."""

    def __init__(self, step: int, atlas: ModelIndex) -> None:
        self.step = step
        self._atlas = atlas
        self._sightings: dict[int, SiteStatistics] = {}
        self._keys: dict[tuple[int, str, int, bool], int] = {}
        self._paths: dict[int, str] = {}
        self._produced: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._modules: list[nn.Module] = []  # held for the length of the step, so that ids stay theirs
        self.movements: dict[int, ParameterUpdate] = {}
        self.rates: dict[int, float] = {}  # optimizer group -> learning rate
        self.left: dict[int, tuple[Number, int]] = {}  # parameter -> norm and size of the gradient that backward left
        self.outputs: dict[NodeKey, Tensor] = {}  # what networks put out since the last backward, without its graph
        self.asked: list[tuple[int, Tensor]] = []  # for each of these calls, the number of its examples and a sample of them
        self.inputs: dict[int, dict[str, Number]] = {}  # network -> numbers of its input
        self.judged: dict[int, dict[str, Number]] = {}  # head -> numbers of its criterion

    def sight(self, call: SiteCall) -> SiteStatistics:
        """The sighting of the site that a call belongs to."""
        local = (id(call.module), call.op, call.occurrence, call.functional)
        index = self._keys.get(local)
        if index is None:
            index = self._keys[local] = self._index_of(call)
            self._modules.append(call.module)
        return self._sightings.setdefault(index, SiteStatistics(index))

    def _index_of(self, call: SiteCall) -> int:
        network = self._atlas.network(call.outermost, call.frame)
        path = self._paths.get(id(call.module))
        if path is None:
            path = self._paths[id(call.module)] = self._atlas.path_of(call.module, network, call.holder)
        key = SiteKey(path, call.op, call.occurrence, call.functional)
        order = len(self._keys)
        return self._atlas.site(network, key, kind=call.kind, order=order, module=call.module, frame=call.frame)

    def produced(self, output: Tensor, sighting: SiteStatistics) -> None:
        """Remembers which site made a tensor, for as long as the tensor lives."""
        self._produced[id(output)] = (weakref.ref(output), sighting.index)

    def producer(self, tensor: Tensor) -> int | None:
        """The site whose output this very tensor is."""
        known = self._produced.get(id(tensor))
        return known[1] if known is not None and known[0]() is tensor else None

    def reading(self, *, own_s: float) -> Reading:
        """All numbers of the step as packed vectors, read back from the device at once. `own_s`: what watching it cost."""
        sizes = self._atlas.sizes
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
            values = {
                Axis.SITE: self._site_values(sizes[Axis.SITE]),
                Axis.PARAMETER: self._parameter_values(sizes[Axis.PARAMETER]),
                Axis.GROUP: self._group_values(sizes[Axis.GROUP]),
                Axis.NETWORK: _table(Axis.NETWORK, self.inputs, sizes[Axis.NETWORK]),
                Axis.HEAD: _table(Axis.HEAD, self.judged, sizes[Axis.HEAD]),
            }
        return Reading(self.step, own_s * 1e3, values)

    def _site_values(self, count: int) -> Vector:
        """Rows are the quantities of the axis. Several calls of a site count as one: means of means, RMS of RMS, sums of counts."""
        seen = list(self._sightings.values())
        described = iter(describe([sample for s in seen for sample in s.samples]))
        slopes = iter(slope_numbers([sample for s in seen for sample in s.slopes]))
        means = iter(settle([n for s in seen for column in s.means.values() for n in column]))
        settled = iter(settle([n for s in seen for n in (*s.nonfinite, *(norm for norm, _ in s.gradients))]))
        rows = {q.name: row for row, q in enumerate(quantities(Axis.SITE))}
        values = np.full((len(rows), count), np.nan, np.float32)
        for s in seen:
            numbers = {
                name: _mean(column)
                for name, column in zip(DESCRIBED, zip(*islice(described, len(s.samples)), strict=True), strict=True)
            }
            pairs = list(islice(slopes, len(s.slopes)))
            numbers["nonfinite_count"] = sum(islice(settled, len(s.nonfinite)))
            numbers |= {name: _mean(list(islice(means, len(column)))) for name, column in s.means.items()}
            norms = list(islice(settled, len(s.gradients)))
            numbers["saturated_fraction"] = _mean([share for _, share in pairs])
            numbers["log10_slope_rms"] = log10_rms([rms for rms, _ in pairs], [1] * len(pairs))
            numbers["log10_gradient_rms"] = log10_rms(norms, [size for _, size in s.gradients])
            numbers["gradient_nonfinite"] = sum(not math.isfinite(n) for n in norms) if norms else math.nan
            for name, value in numbers.items():
                values[rows[name], s.index] = value
            s.samples.clear()  # the hooks on the step's graph hold the sighting for as long as the script holds its loss
            s.slopes.clear()
        return values

    def _parameter_values(self, count: int) -> Vector:
        indices, moves = list(self.movements), list(self.movements.values())
        settled = settle([n for m in moves for n in (m.weight, m.gradient, m.update, m.agreement, m.along, *m.stale)])
        matrices = [i for i, m in zip(indices, moves, strict=True) if m.sample is not None]
        spreads = row_spreads([m.sample for m in moves if m.sample is not None])
        values = np.full((7, count), np.nan, np.float32)
        for position, (index, move) in enumerate(zip(indices, moves, strict=True)):
            weight, gradient, update, agreement, own, *stale = settled[7 * position : 7 * position + 7]
            norms, sizes = (weight, gradient, update), (move.excerpt, move.size, move.excerpt)
            values[:3, index] = [log10_rms([n], [size]) for n, size in zip(norms, sizes, strict=True)]
            values[4:, index] = agreement, own, _log10_share(*stale)
        values[3, matrices] = spreads
        return values

    def _group_values(self, count: int) -> Vector:
        """Learning rates, and the gradients that the optimizer used over those that backward had left, by group."""
        values = np.full((2, count), np.nan, np.float32)
        for index, rate in self.rates.items():
            values[0, index] = rate
        found = {i: m.left for i, m in self.movements.items() if m.left is not None and self._atlas.group_of(i) is not None}
        both = list(found)
        used = dict(zip(both, settle([self.movements[i].gradient for i in both]), strict=True))
        left = dict(zip(both, settle([found[i][0] for i in both]), strict=True))
        for group in {self._atlas.group_of(i) for i in both} - {None}:
            own = [i for i in both if self._atlas.group_of(i) == group and not math.isnan(used[i] + left[i])]
            sizes = [found[i][1] for i in own]
            before, after = log10_rms([left[i] for i in own], sizes), log10_rms([used[i] for i in own], sizes)
            values[1, group] = after - before if math.isfinite(before) else math.nan
        return values


def _log10_share(part: float, whole: float) -> float:
    """log10 of a ratio; -inf for nothing of something, NaN where there is no whole."""
    if math.isnan(part) or not whole > 0 or math.isinf(whole):
        return math.nan
    return math.log10(part / whole) if part > 0 else -math.inf


def _table(axis: Axis, rows: Mapping[int, Mapping[str, Number]], count: int) -> Vector:
    """The numbers of every index of an axis, by the names of their quantities; NaN where there is none."""
    places = {quantity.name: place for place, quantity in enumerate(quantities(axis))}
    values = np.full((len(places), count), np.nan, np.float32)
    flat = [(places[name], index, value) for index, numbers in rows.items() for name, value in numbers.items()]
    for (place, index, _), value in zip(flat, settle([value for _, _, value in flat]), strict=True):
        values[place, index] = value
    return values


@dataclass(frozen=True, slots=True)
class SiteCall:
    """One call of one operation: the module that ran it, the module that called that one, and the outermost one."""

    module: nn.Module
    holder: nn.Module | None
    outermost: nn.Module
    op: str
    kind: str
    occurrence: int
    functional: bool
    frame: FrameType | None


def _mean(values: Sequence[float]) -> float:
    measured = [v for v in values if not math.isnan(v)]
    return math.fsum(measured) / len(measured) if measured and all(map(math.isfinite, measured)) else math.nan
