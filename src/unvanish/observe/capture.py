"""What one sampled step shows: every site that ran, in order, with numbers about its outputs and their gradients.

It keeps numbers, not tensors: an output lives as long as the user's own program lets it.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import FrameType

import numpy as np
from torch import Tensor, nn

from unvanish.observe.atlas import Atlas, SiteKey
from unvanish.observe.statistics import Number, SlopeSample, describe, log10_rms, row_spreads, settle, slope_numbers
from unvanish.record.reading import Axis, Reading, Vector, quantities

DESCRIBED = ("activation_mean", "activation_std", "zero_fraction", "example_cosine")


@dataclass(slots=True)
class Sighting:
    """All calls of one site within a step."""

    index: int
    samples: list[Tensor] = field(default_factory=list)
    nonfinite: list[Number] = field(default_factory=list)
    silent: list[Number] = field(default_factory=list)
    slopes: list[SlopeSample] = field(default_factory=list)
    gradients: list[tuple[Number, int]] = field(default_factory=list)


@dataclass(slots=True)
class Movement:
    """One parameter at one step: norms of weight, gradient and update, and a sample of its rows if it is a matrix.

    The gradient has `size` elements; weight and update are measured on `excerpt` of them.
    """

    size: int
    excerpt: int
    weight: Number = math.nan
    gradient: Number = math.nan
    update: Number = math.nan
    sample: Tensor | None = None


class Capture:
    """The sampled step in progress."""

    def __init__(self, step: int, atlas: Atlas) -> None:
        self.step = step
        self._atlas = atlas
        self._sightings: dict[int, Sighting] = {}
        self._keys: dict[tuple[int, str, int, bool], int] = {}
        self._paths: dict[int, str] = {}
        self._produced: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._modules: list[nn.Module] = []  # held for the length of the step, so that ids stay theirs
        self.movements: dict[int, Movement] = {}
        self.rates: dict[int, float] = {}  # optimizer group -> learning rate

    def sight(self, call: SiteCall) -> Sighting:
        """The sighting of the site that a call belongs to."""
        local = (id(call.module), call.op, call.occurrence, call.functional)
        index = self._keys.get(local)
        if index is None:
            index = self._keys[local] = self._index_of(call)
            self._modules.append(call.module)
        return self._sightings.setdefault(index, Sighting(index))

    def _index_of(self, call: SiteCall) -> int:
        network = self._atlas.network(call.outermost, call.frame)
        path = self._paths.get(id(call.module))
        if path is None:
            path = self._paths[id(call.module)] = self._atlas.path_of(call.module, network, call.holder)
        key = SiteKey(path, call.op, call.occurrence, call.functional)
        order = len(self._keys)
        return self._atlas.site(network, key, kind=call.kind, order=order, module=call.module, frame=call.frame)

    def produced(self, output: Tensor, sighting: Sighting) -> None:
        """Remembers which site made a tensor, for as long as the tensor lives."""
        self._produced[id(output)] = (weakref.ref(output), sighting.index)

    def producer(self, tensor: Tensor) -> int | None:
        """The site whose output this very tensor is."""
        known = self._produced.get(id(tensor))
        return known[1] if known is not None and known[0]() is tensor else None

    def reading(self, *, own_s: float) -> Reading:
        """All numbers of the step as packed vectors, read back from the device at once. `own_s`: what watching it cost."""
        sites, parameters, groups = self._atlas.sizes
        values = {
            Axis.SITE: self._site_values(sites),
            Axis.PARAMETER: self._parameter_values(parameters),
            Axis.GROUP: np.full((1, groups), np.nan, np.float32),
        }
        for index, rate in self.rates.items():
            values[Axis.GROUP][0, index] = rate
        return Reading(self.step, own_s * 1e3, values)

    def _site_values(self, count: int) -> Vector:
        """Rows are the quantities of the axis. Several calls of a site count as one: means of means, RMS of RMS, sums of counts."""
        seen = list(self._sightings.values())
        described = iter(describe([sample for s in seen for sample in s.samples]))
        slopes = iter(slope_numbers([sample for s in seen for sample in s.slopes]))
        settled = iter(settle([n for s in seen for n in (*s.nonfinite, *s.silent, *(norm for norm, _ in s.gradients))]))
        rows = {q.name: row for row, q in enumerate(quantities(Axis.SITE))}
        values = np.full((len(rows), count), np.nan, np.float32)
        for s in seen:
            numbers = {
                name: _mean(column)
                for name, column in zip(DESCRIBED, zip(*islice(described, len(s.samples)), strict=True), strict=True)
            }
            pairs = list(islice(slopes, len(s.slopes)))
            numbers["nonfinite_count"] = sum(islice(settled, len(s.nonfinite)))
            numbers["silent_fraction"] = _mean(list(islice(settled, len(s.silent))))
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
        settled = settle([n for m in moves for n in (m.weight, m.gradient, m.update)])
        matrices = [i for i, m in zip(indices, moves, strict=True) if m.sample is not None]
        spreads = row_spreads([m.sample for m in moves if m.sample is not None])
        values = np.full((4, count), np.nan, np.float32)
        for position, (index, move) in enumerate(zip(indices, moves, strict=True)):
            sizes = (move.excerpt, move.size, move.excerpt)
            norms = settled[3 * position : 3 * position + 3]
            values[:3, index] = [log10_rms([n], [size]) for n, size in zip(norms, sizes, strict=True)]
        values[3, matrices] = spreads
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
