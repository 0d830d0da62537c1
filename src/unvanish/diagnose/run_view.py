"""A run laid out for reading: sites by depth, early and late values, the course of the loss. It measures, and judges nothing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unvanish.record.reading import QUANTITIES, Axis
from unvanish.record.run import Matrix, Run
from unvanish.record.structure import Location, Parameter, Site

EARLY_ROWS = 10  # the samples that are always there: steps 1 to 10
LATE_ROWS = 3
AXES = {quantity.name: quantity.axis for quantity in QUANTITIES}
TINY = 1e-30
SAME_SCALE = 0.05  # losses within five per cent of a criterion are that criterion
LAYER_KINDS = ("weight", "recurrence", "attention", "embedding")

Row = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LossCurve:
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
class LayerStack:
    """The layers that one optimizer trains together, from the input to the output: indices of sites in order of execution."""

    objective: int
    layers: tuple[int, ...]
    activations: tuple[int, ...]
    sites: tuple[int, ...]
    networks: frozenset[int] = frozenset()


class RunView:
    """Views of one run that several rules share."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.anatomy = run.anatomy
        self.chains = tuple(_chains(run))
        known = self.anatomy
        self._lengths = {
            Axis.SITE: len(known.sites),
            Axis.PARAMETER: len(known.parameters),
            Axis.GROUP: len(known.groups),
            Axis.NETWORK: len(known.networks),
            Axis.HEAD: len(known.heads),
        }

    def values(self, name: str) -> Matrix:
        """All readings of a quantity; float64 of shape (sampled steps, length of its axis), NaN for what was never measured."""
        matrix = self.run.readings[name]
        missing = self._lengths[AXES[name]] - matrix.shape[1]
        return np.pad(matrix, ((0, 0), (0, missing)), constant_values=np.nan) if missing > 0 else matrix

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

    def course(self, objective: int = 0) -> LossCurve | None:
        """How an objective's loss went; None under five steps with a loss."""
        _, losses = self.run.objective(objective)
        return course_of(losses) if len(losses) >= 5 else None

    def heads(self, chain: LayerStack) -> tuple[int, ...]:
        """Indices of the heads of a chain's networks."""
        return tuple(i for i, head in enumerate(self.anatomy.heads) if head.network in chain.networks)

    def skill(self, chain: LayerStack) -> float | None:
        """How much of what the best constant answer leaves the chain has learned by the end: 0 is nothing, 1 all, less than 0 is
        worse than a constant; measured down to the least loss that the targets allow. None where no criterion was understood, or
        its targets are constant themselves.

        Of several heads, the mean. Where the loss of each step is this criterion at a fixed scale, all late steps count; else the
        late samples.
        """
        shares = [share for head in self.heads(chain) if (share := self._skill_of(chain, head)) is not None]
        return float(np.mean(shares)) if shares else None

    def _skill_of(self, chain: LayerStack, head: int) -> float | None:
        loss, constant = self.values("loss")[:, head], self.values("constant_loss")[:, head]
        known = np.flatnonzero(np.isfinite(constant))
        floor = typical(self.values("least_loss")[-LATE_ROWS:, head])
        floor = 0.0 if np.isnan(floor) else floor
        room = (float(constant[known[-1]]) if len(known) else 0.0) - floor
        if room <= TINY or not self._informative(head):
            return None
        present = np.flatnonzero(~np.isnan(self.values("comparisons")[:, head]))
        if len(present) and not np.isfinite(loss[present[-1]]):
            return -np.inf  # the numbers have stopped being numbers
        scale, course = self.scale(chain, head), self.course(chain.objective)
        if scale is not None and course is not None and len(self.heads(chain)) == 1:
            return 1.0 - (course.end / scale - floor) / room
        late = loss[known][-max(LATE_ROWS, len(known) // 3) :]
        return 1.0 - (mean(late) - floor) / room

    def _informative(self, head: int) -> bool:
        """Whether the targets of a head differ at all."""
        low, high = self.values("target_low")[:, head], self.values("target_high")[:, head]
        return bool(np.nanmin(low, initial=np.inf) < np.nanmax(high, initial=-np.inf))

    def scale(self, chain: LayerStack, head: int) -> float | None:
        """The steps' losses over a head's criterion, where that is the same at every sample."""
        loss = self.values("loss")[:, head]
        steps, losses = self.run.objective(chain.objective)
        at = np.searchsorted(steps, self.run.sampled)
        inside = (at < len(steps)) & np.isfinite(loss) & (loss != 0)
        inside[inside] = steps[at[inside]] == self.run.sampled[inside]
        ratios = losses[at[inside]] / loss[inside]
        if len(ratios) < LATE_ROWS or not np.isfinite(ratios).all() or (ratios <= 0).any():
            return None
        middle = float(np.median(ratios))
        return middle if float(np.abs(ratios / middle - 1).max()) < SAME_SCALE else None

    def learned(self, chain: LayerStack, share: float) -> bool:
        """Whether the chain has learned that share of what there is to learn: by its skill where that is known, else by the fall of
        its loss from the start. No where too few steps were seen to tell."""
        skill = self.skill(chain)
        if skill is not None:
            return skill >= share
        course = self.course(chain.objective)
        return course is not None and course.finite and course.fall >= share

    def pace(self, chain: LayerStack) -> float | None:
        """Median log10 of update over weight, over the weight matrices that the chain's optimizer owns, at the late samples."""
        owned = self.matrices(chain)
        ratio = log_ratio(self.late("log10_update_rms"), self.late("log10_weight_rms"))[owned]
        ratio = ratio[np.isfinite(ratio)]
        return float(np.median(ratio)) if len(ratio) else None

    def paces(self, chain: LayerStack) -> Row:
        """The same at every sample; float64 of shape (sampled steps,)."""
        return nanmedian(log_ratio(self.values("log10_update_rms"), self.values("log10_weight_rms"))[:, self.matrices(chain)].T)

    def matrices(self, chain: LayerStack) -> list[int]:
        """Indices of the weight matrices that the chain's optimizer owns."""
        groups = self.anatomy.groups
        width = self.values("log10_weight_rms").shape[1]
        return [
            i
            for i, p in enumerate(self.anatomy.parameters[:width])
            if len(p.shape) > 1 and p.group is not None and groups[p.group].optimizer == chain.objective
        ]

    def start_scale(self, chain: LayerStack) -> float | None:
        """Median log10 of sqrt(fan_in) times a weight's RMS at the first sample, over the chain's weight matrices: 0 keeps a
        signal's size in a linear network."""
        scales = [scale for i in self.matrices(chain) if np.isfinite(scale := self.scale_at_start(i))]
        return float(np.median(scales)) if scales else None

    def scale_at_start(self, index: int) -> float:
        """log10 of sqrt(fan_in) times the RMS of a weight matrix at the first sample."""
        fan_in = float(np.prod(self.parameter(index).shape[1:]))
        return float(self.values("log10_weight_rms")[0, index]) + 0.5 * float(np.log10(max(fan_in, 1.0)))

    def sampled_step(self, mask: NDArray[np.bool_]) -> int | None:
        """The number of the first sampled step at which the mask holds."""
        rows = np.flatnonzero(mask)
        return int(self.run.sampled[rows[0]]) if len(rows) else None


@np.errstate(over="ignore", invalid="ignore")  # a loss that diverges may leave float64 on the way
def course_of(losses: Row) -> LossCurve:
    """The course of a series of at least five losses."""
    finite = bool(np.isfinite(losses).all())
    kept = losses[np.isfinite(losses)]
    if len(kept) < 5:
        return LossCurve(len(losses), np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, finite)
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
    return LossCurve(len(losses), start, end, lowest, (start - end) / size, late, noise, finite)


def typical(values: Row | Matrix) -> float:
    """The median of the values that are numbers; NaN where there are none."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else np.nan


def mean(values: Row | Matrix) -> float:
    """The mean of the values that are numbers; NaN where there are none."""
    known = values[np.isfinite(values)]
    return float(np.mean(known)) if known.size else np.nan


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


def _chains(run: Run) -> list[LayerStack]:
    """Sites grouped by the optimizer that trains their network, in order of execution."""
    anatomy = run.anatomy
    objective_of: dict[int, int] = {}
    for parameter in anatomy.parameters:
        if parameter.group is not None:
            objective_of.setdefault(parameter.network, anatomy.groups[parameter.group].optimizer)
    chains: list[LayerStack] = []
    for objective in sorted(set(objective_of.values()) or {0}):
        networks = {n for n, o in objective_of.items() if o == objective} or set(range(len(anatomy.networks)))
        if not any(s.network in networks for s in anatomy.sites):  # master weights: what runs is owned by nobody
            networks |= {s.network for s in anatomy.sites if s.network not in objective_of}
        sites = sorted((i for i, s in enumerate(anatomy.sites) if s.network in networks), key=lambda i: (anatomy.sites[i].order, i))
        layers = tuple(i for i in sites if anatomy.sites[i].kind in LAYER_KINDS and not anatomy.sites[i].functional)
        activations = tuple(i for i in sites if anatomy.sites[i].kind == "activation")
        chains.append(LayerStack(objective, layers, activations, tuple(sites), frozenset(networks)))
    return chains
