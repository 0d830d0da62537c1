"""Collects the statistics of one site (a module's or function's output) over its calls in a sampled step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import FrameType

from torch import Tensor, nn

from unvanish.observe.statistics.tensor_statistics import (
    Number,
    SlopeSample,
    describe,
    log10_rms,
    read_back,
    slope_statistics,
)

DESCRIBED_QUANTITIES = ("activation_mean", "activation_std", "zero_fraction", "example_cosine", "example_spread")


@dataclass(frozen=True, slots=True)
class SiteCall:
    """One call of one operation.

    `module` ran it (of a functional operation: the module whose `forward` it is in), `caller` is the module that called that one,
    `outermost` the module whose call began the forward pass. `occurrence` counts equal operations within one module call from 0.
    `frame` is the Python frame that made the call.
    """

    module: nn.Module
    caller: nn.Module | None
    outermost: nn.Module
    op: str
    kind: str
    occurrence: int
    functional: bool
    frame: FrameType | None


@dataclass(slots=True)
class SiteStatistics:
    """What was measured at all calls of one site within a step.

    `samples` are subsampled outputs, `nonfinite` counts of NaN and infinite values, `numbers` the numbers by quantity name of which
    the mean over the calls is reported, `slopes` inputs of an activation, `gradients` pairs of norm and number of elements.
    """

    index: int
    samples: list[Tensor] = field(default_factory=list)
    nonfinite: list[Number] = field(default_factory=list)
    numbers: dict[str, list[Number]] = field(default_factory=dict)
    slopes: list[SlopeSample] = field(default_factory=list)
    gradients: list[tuple[Number, int]] = field(default_factory=list)

    def add(self, numbers: Mapping[str, Number]) -> None:
        """Adds the numbers of one call, by quantity name."""
        for name, value in numbers.items():
            self.numbers.setdefault(name, []).append(value)


def site_numbers(sites: Sequence[SiteStatistics]) -> dict[int, dict[str, float]]:
    """The numbers of each site by quantity name, read back from the device; the samples are then released.

    Several calls of a site count as one: means of means, RMS of RMS, sums of counts.
    """
    descriptions = iter(describe([sample for s in sites for sample in s.samples]))
    slopes = iter(slope_statistics([sample for s in sites for sample in s.slopes]))
    per_call = iter(read_back([n for s in sites for column in s.numbers.values() for n in column]))
    counts_and_norms = iter(read_back([n for s in sites for n in (*s.nonfinite, *(norm for norm, _ in s.gradients))]))
    result: dict[int, dict[str, float]] = {}
    for s in sites:
        described = zip(*islice(descriptions, len(s.samples)), strict=True)
        numbers = {name: _mean(column) for name, column in zip(DESCRIBED_QUANTITIES, described, strict=True)}
        numbers["nonfinite_count"] = sum(islice(counts_and_norms, len(s.nonfinite)))
        numbers |= {name: _mean(list(islice(per_call, len(column)))) for name, column in s.numbers.items()}
        norms = list(islice(counts_and_norms, len(s.gradients)))
        pairs = list(islice(slopes, len(s.slopes)))
        numbers["saturated_fraction"] = _mean([share for _, share in pairs])
        numbers["log10_slope_rms"] = log10_rms([rms for rms, _ in pairs], [1] * len(pairs))
        numbers["log10_gradient_rms"] = log10_rms(norms, [size for _, size in s.gradients])
        numbers["gradient_nonfinite"] = sum(not math.isfinite(n) for n in norms) if norms else math.nan
        result[s.index] = numbers
        s.samples.clear()  # gradient hooks keep `s` alive for as long as the script keeps its loss
        s.slopes.clear()
    return result


def _mean(values: Sequence[float]) -> float:
    measured = [v for v in values if not math.isnan(v)]
    return math.fsum(measured) / len(measured) if measured and all(map(math.isfinite, measured)) else math.nan
