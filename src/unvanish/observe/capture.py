"""What one sampled step shows: every site that ran, in order, with numbers about its outputs and their gradients.

It keeps numbers, not tensors: an output lives as long as the user's own program lets it.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType

import numpy as np
from torch import Tensor, nn

from unvanish.observe.atlas import Atlas, SiteKey
from unvanish.observe.statistics import Number, Output, log10_rms, settle
from unvanish.record.reading import Axis, Reading, Vector, quantities

OUTPUT_FIELDS = ("activation_mean", "activation_std", "zero_fraction", "silent_fraction", "nonfinite_count", "example_cosine")


@dataclass(slots=True)
class Sighting:
    """All calls of one site within a step."""

    index: int
    outputs: list[Output] = field(default_factory=list)
    slopes: list[tuple[Number, Number]] = field(default_factory=list)
    gradients: list[tuple[Number, int]] = field(default_factory=list)


@dataclass(slots=True)
class Movement:
    """One parameter at one step: norms of weight, gradient and update, and how far its rows differ."""

    size: int
    weight: Number = math.nan
    gradient: Number = math.nan
    update: Number = math.nan
    spread: Number = math.nan


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

    def reading(self, rates: Sequence[tuple[int, float]], *, own_s: float) -> Reading:
        """All numbers of the step as packed vectors, read back from the device at once. `own_s`: what watching it cost."""
        sites, parameters, groups = self._atlas.sizes
        values = {
            Axis.SITE: self._site_values(sites),
            Axis.PARAMETER: self._parameter_values(parameters),
            Axis.GROUP: np.full((1, groups), np.nan, np.float32),
        }
        for index, rate in rates:
            values[Axis.GROUP][0, index] = rate
        return Reading(self.step, own_s * 1e3, values)

    def _site_values(self, count: int) -> Vector:
        sightings = list(self._sightings.values())
        flat: list[Number] = []
        for s in sightings:
            flat += [getattr(o, name) for o in s.outputs for name in OUTPUT_FIELDS]
            flat += [n for pair in s.slopes for n in pair]
            flat += [norm for norm, _ in s.gradients]
        settled = iter(settle(flat))
        rows = {q.name: row for row, q in enumerate(quantities(Axis.SITE))}
        values = np.full((len(rows), count), np.nan, np.float32)
        for s in sightings:
            outputs = [[next(settled) for _ in OUTPUT_FIELDS] for _ in s.outputs]
            slopes = [(next(settled), next(settled)) for _ in s.slopes]
            norms = [next(settled) for _ in s.gradients]
            for name, column in zip(OUTPUT_FIELDS, zip(*outputs, strict=True), strict=False):
                values[rows[name], s.index] = sum(column) if name == "nonfinite_count" else _mean(column)
            if slopes:
                values[rows["log10_slope_rms"], s.index] = log10_rms([rms for rms, _ in slopes], [1] * len(slopes))
                values[rows["saturated_fraction"], s.index] = _mean([share for _, share in slopes])
            if norms:
                values[rows["log10_gradient_rms"], s.index] = log10_rms(norms, [size for _, size in s.gradients])
                values[rows["gradient_nonfinite"], s.index] = sum(not math.isfinite(n) for n in norms)
        return values

    def _parameter_values(self, count: int) -> Vector:
        indices = list(self.movements)
        moves = [self.movements[i] for i in indices]
        settled = settle([n for m in moves for n in (m.weight, m.gradient, m.update, m.spread)])
        values = np.full((4, count), np.nan, np.float32)
        for position, (index, move) in enumerate(zip(indices, moves, strict=True)):
            *norms, spread = settled[4 * position : 4 * position + 4]
            values[:3, index] = [log10_rms([n], [move.size]) for n in norms]
            values[3, index] = spread
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
