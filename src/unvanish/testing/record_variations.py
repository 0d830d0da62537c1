"""Records made from records: what a rule must survive, and what must not change its mind. It judges nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from unvanish.record.reading import QUANTITIES, Axis
from unvanish.record.run import Matrix, Run
from unvanish.record.structure import ModelStructure, OptimizerGroup

FACTORS = (1e-2, 1e2)
HOLES = 0.2  # share of the readings
OF_GRADIENTS = ("log10_gradient_rms", "log10_weight_gradient_rms")
AXES = {quantity.name: quantity.axis for quantity in QUANTITIES}


class Symmetry(StrEnum):
    """What cannot matter: the same training told otherwise. A rule says which of these hold for it, and by default all do.

    The scale of the loss is a factor in front of it that the optimizer's settings make up for: gradients follow it, updates do not.
    It does matter where a gradient is compared with a number that stays, such as the smallest float16.
    """

    LOSS_SCALE = "the scale of the loss"
    PARAMETER_ORDER = "the order of parameters"


def read_only(run: Run) -> Run:
    """A copy of the run whose arrays cannot be written to."""
    readings = {name: _sealed(matrix) for name, matrix in run.readings.items()}
    sealed = {name: _sealed(getattr(run, name)) for name in ("sampled", "steps", "ended_s", "losses")}
    return replace(run, readings=readings, **sealed)


def poorer(run: Run) -> Iterator[tuple[str, Run]]:
    """The run with less in it, each with a word for what is missing: samples, losses, structure, and every quantity in turn."""
    yield "no sample", first_samples(run, 0)
    yield "one sample", first_samples(run, 1)
    yield "two samples", first_samples(run, 2)
    yield "no losses", replace(run, steps=run.steps[:0], ended_s=run.ended_s[:0], losses=run.losses[:0])
    yield "one step", replace(run, steps=run.steps[:1], ended_s=run.ended_s[:1], losses=run.losses[:1])
    yield "losses that are infinite", replace(run, losses=np.full_like(run.losses, np.inf))
    yield "no reading", replace(run, readings={name: np.full_like(matrix, np.nan) for name, matrix in run.readings.items()})
    yield "holes everywhere", _with_holes(run)
    yield "no structure", bare(run)
    for name, matrix in run.readings.items():
        yield f"no {name}", replace(run, readings={**run.readings, name: np.full_like(matrix, np.nan)})


def first_samples(run: Run, count: int) -> Run:
    """The run as it was after so many sampled steps."""
    readings = {name: matrix[:count] for name, matrix in run.readings.items()}
    return replace(run, sampled=run.sampled[:count], readings=readings)


def bare(run: Run) -> Run:
    """The run of a program of which nothing is known: no network, site or parameter."""
    return replace(run, anatomy=ModelStructure(), readings={name: matrix[:, :0] for name, matrix in run.readings.items()})


def retold(run: Run, symmetry: Symmetry) -> Iterator[Run]:
    """The same training told otherwise."""
    if symmetry is Symmetry.LOSS_SCALE:
        yield from (loss_times(run, factor) for factor in FACTORS)
    else:
        yield reordered(run)


def loss_times(run: Run, factor: float) -> Run:
    """The run with its loss times `factor` and settings that make up for it: gradients scale, updates stay as they were, and so do
    the figures that the script itself reports."""
    readings = dict(run.readings)
    for name in OF_GRADIENTS:
        readings[name] = readings[name] + math.log10(factor)
    groups = tuple(_scaled(group, factor) for group in run.anatomy.groups)
    readings["learning_rate"] = readings["learning_rate"] * _shares_of_rate(run.anatomy.groups, factor)
    return replace(run, readings=readings, losses=run.losses * factor, anatomy=replace(run.anatomy, groups=groups))


def reordered(run: Run) -> Run:
    """The run with its parameters listed from the last to the first."""
    total = len(run.anatomy.parameters)
    order = list(reversed(range(total)))
    place = {old: new for new, old in enumerate(order)}
    sites = tuple(replace(s, parameters=tuple(place[i] for i in s.parameters)) for s in run.anatomy.sites)
    heads = tuple(replace(h, parameter=place.get(-1 if h.parameter is None else h.parameter)) for h in run.anatomy.heads)
    parameters = tuple(run.anatomy.parameters[i] for i in order)
    readings = {
        name: matrix[:, order] if AXES.get(name) is Axis.PARAMETER and matrix.shape[1] == total else matrix
        for name, matrix in run.readings.items()
    }
    return replace(run, anatomy=replace(run.anatomy, parameters=parameters, sites=sites, heads=heads), readings=readings)


def _scaled(group: OptimizerGroup, factor: float) -> OptimizerGroup:
    """The settings that take the same steps from gradients times `factor`: plain descent at a smaller rate, Adam with a larger eps.

    Weight decay that is added to the gradient grows with it; AdamW's is not.
    """
    decoupled = group.class_name.endswith("AdamW")
    times = (
        {"eps": factor, "weight_decay": 1.0 if decoupled else factor}
        if _adaptive(group)
        else {"lr": 1 / factor, "weight_decay": factor}
    )
    return replace(group, settings=tuple((name, value * times.get(name, 1.0)) for name, value in group.settings))


def _adaptive(group: OptimizerGroup) -> bool:
    """Whether the optimizer divides each gradient by its own size."""
    return any(name == "eps" for name, _ in group.settings) or "Adam" in group.class_name


def _shares_of_rate(groups: Sequence[OptimizerGroup], factor: float) -> NDArray[np.float64]:
    return np.array([1.0 if _adaptive(group) else 1 / factor for group in groups])


def _with_holes(run: Run) -> Run:
    """The run with a fifth of its readings missing, always the same ones."""
    generator = np.random.default_rng(0)
    readings = {name: np.where(generator.random(matrix.shape) < HOLES, np.nan, matrix) for name, matrix in run.readings.items()}
    return replace(run, readings=readings)


def _sealed(array: Matrix) -> Matrix:
    copy = array.copy()
    copy.flags.writeable = False
    return copy
