"""A run laid out for reading: sites by depth, early and late values, the course of the loss. It measures, and judges nothing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unvanish.record.anatomy import Location, Parameter, Site
from unvanish.record.run import Matrix, Run

EARLY_ROWS = 10  # the samples that are always there: steps 1 to 10
LATE_ROWS = 3
LAYER_KINDS = ("weight", "recurrence", "attention", "embedding")

Row = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Course:
    """How a loss went: its level at the start, at the end, at its lowest twentieth, and the noise from step to step.

    `fall` is the drop from start to end over the start's size; `late_fall` that over the second half of the run alone;
    `noise` the standard error of those. `finite` is False where a loss was NaN or infinite.
    """

    steps: int
    start: float
    end: float
    lowest: float
    fall: float
    late_fall: float
    noise: float
    finite: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """The layers that one optimizer trains together, from the input to the output: indices of sites in order of execution."""

    objective: int
    layers: tuple[int, ...]
    activations: tuple[int, ...]
    sites: tuple[int, ...]


class Chart:
    """Views of one run that several rules share."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.anatomy = run.anatomy
        self.chains = tuple(_chains(run))

    def values(self, name: str) -> Matrix:
        """All readings of a quantity; float64 of shape (sampled steps, length of its axis)."""
        return self.run.readings[name]

    def early(self, name: str) -> Row:
        """Median over the first samples, for each index of the quantity's axis; NaN where never measured."""
        return nanmedian(self.values(name)[:EARLY_ROWS])

    def late(self, name: str) -> Row:
        """Median over the last samples."""
        return nanmedian(self.values(name)[-LATE_ROWS:])

    def labels(self, sites: Sequence[int]) -> tuple[str, ...]:
        """The names of sites, each once, in the order given."""
        return tuple(dict.fromkeys(self.anatomy.site_label(i) for i in sites))

    def site(self, index: int) -> Site:
        """The record of a site."""
        return self.anatomy.sites[index]

    def parameter(self, index: int) -> Parameter:
        """The record of a parameter."""
        return self.anatomy.parameters[index]

    def location(self, index: int) -> Location | None:
        """Where a site stands in the user's source."""
        return self.anatomy.sites[index].location

    def course(self, objective: int = 0) -> Course | None:
        """How an objective's loss went; None under five steps with a loss."""
        _, losses = self.run.objective(objective)
        return course_of(losses) if len(losses) >= 5 else None

    def sampled_step(self, mask: NDArray[np.bool_]) -> int | None:
        """The number of the first sampled step at which the mask holds."""
        rows = np.flatnonzero(mask)
        return int(self.run.sampled[rows[0]]) if len(rows) else None


@np.errstate(over="ignore", invalid="ignore")  # a loss that diverges may leave float64 on the way
def course_of(losses: Row) -> Course:
    """The course of a series of at least five losses."""
    finite = bool(np.isfinite(losses).all())
    kept = losses[np.isfinite(losses)]
    if len(kept) < 5:
        return Course(len(losses), np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, finite)
    head = kept[: max(3, len(kept) // 50)]
    tail = kept[-max(3, len(kept) // 5) :]
    middle = kept[len(kept) // 3 : 2 * len(kept) // 3]
    start, end = float(np.median(head)), float(np.median(tail))
    lowest = min(float(np.median(part)) for part in np.array_split(kept, min(20, len(kept) // 3 or 1)))
    size = max(abs(start), float(np.finfo(float).tiny))
    # The noise of a median of n values is 1.25 sd / sqrt(n); differences of neighbours give the sd free of any trend.
    deviation = 1.4826 * float(np.median(np.abs(np.diff(kept)))) / np.sqrt(2)
    noise = 1.25 * deviation * float(np.hypot(len(tail) ** -0.5, len(head) ** -0.5)) / size
    late = (float(np.median(middle)) - end) / size
    return Course(len(losses), start, end, lowest, (start - end) / size, late, noise, finite)


def log_ratio(over: Matrix, under: Matrix) -> Matrix:
    """log10 of a ratio from two log10 values; NaN where both are exactly zero or both infinite."""
    with np.errstate(invalid="ignore"):
        return over - under


def nanmedian(rows: Matrix) -> Row:
    """Median over rows without the missing values; NaN in columns that have none. Infinite values take part."""
    if rows.size == 0:
        return np.full(rows.shape[1:], np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmedian(rows, axis=0)


def _chains(run: Run) -> list[Chain]:
    """Sites grouped by the optimizer that trains their network, in order of execution."""
    anatomy = run.anatomy
    objective_of: dict[int, int] = {}
    for parameter in anatomy.parameters:
        if parameter.group is not None:
            objective_of.setdefault(parameter.network, anatomy.groups[parameter.group].optimizer)
    chains: list[Chain] = []
    for objective in sorted(set(objective_of.values()) or {0}):
        networks = {n for n, o in objective_of.items() if o == objective} or set(range(len(anatomy.networks)))
        sites = sorted((i for i, s in enumerate(anatomy.sites) if s.network in networks), key=lambda i: (anatomy.sites[i].order, i))
        layers = tuple(i for i in sites if anatomy.sites[i].kind in LAYER_KINDS)
        activations = tuple(i for i in sites if anatomy.sites[i].kind == "activation")
        chains.append(Chain(objective, layers, activations, tuple(sites)))
    return chains
