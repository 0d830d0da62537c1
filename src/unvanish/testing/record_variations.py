"""Variations of a run record: with parts missing, and equivalent ones (`Symmetry`) that must get the same findings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from unvanish.record.quantities import QUANTITIES, Axis
from unvanish.record.run import Matrix, Run
from unvanish.record.structure import ModelStructure, OptimizerGroup

LOSS_FACTORS = (1e-2, 1e2)
MISSING_SHARE = 0.2  # share of the readings
GRADIENT_QUANTITIES = ("log10_gradient_rms", "log10_weight_gradient_rms")
QUANTITY_AXES = {quantity.name: quantity.axis for quantity in QUANTITIES}


class Symmetry(StrEnum):
    """Changes of a record that describe the same training, and must not change the findings of a rule. By default all hold.

    `LOSS_SCALE`: a factor in front of the loss for which the optimizer's settings compensate, so that gradients scale and updates
    do not. Leave it out for a rule that compares a gradient with a fixed number, such as the smallest float16.
    `PARAMETER_ORDER`: the parameters listed from the last to the first.
    """

    LOSS_SCALE = "the scale of the loss"
    PARAMETER_ORDER = "the order of parameters"


def read_only(run: Run) -> Run:
    """A copy of the run whose arrays cannot be written to."""
    readings = {name: _read_only_copy(matrix) for name, matrix in run.readings.items()}
    arrays = {name: _read_only_copy(getattr(run, name)) for name in ("sampled", "steps", "ended_s", "losses")}
    return replace(run, readings=readings, **arrays)


def reduced_records(run: Run) -> Iterator[tuple[str, Run]]:
    """Pairs of what is missing and the run without it: samples, losses, structure, and every quantity in turn."""
    yield "no sample", first_samples(run, 0)
    yield "one sample", first_samples(run, 1)
    yield "two samples", first_samples(run, 2)
    yield "no losses", replace(run, steps=run.steps[:0], ended_s=run.ended_s[:0], losses=run.losses[:0])
    yield "one step", replace(run, steps=run.steps[:1], ended_s=run.ended_s[:1], losses=run.losses[:1])
    yield "losses that are infinite", replace(run, losses=np.full_like(run.losses, np.inf))
    yield "no reading", replace(run, readings={name: np.full_like(matrix, np.nan) for name, matrix in run.readings.items()})
    yield "holes everywhere", _with_missing_readings(run)
    yield "no structure", without_structure(run)
    for name, matrix in run.readings.items():
        yield f"no {name}", replace(run, readings={**run.readings, name: np.full_like(matrix, np.nan)})


def first_samples(run: Run, count: int) -> Run:
    """The run with its first `count` sampled steps alone."""
    readings = {name: matrix[:count] for name, matrix in run.readings.items()}
    return replace(run, sampled=run.sampled[:count], readings=readings)


def without_structure(run: Run) -> Run:
    """The run with no network, site or parameter."""
    return replace(run, structure=ModelStructure(), readings={name: matrix[:, :0] for name, matrix in run.readings.items()})


def equivalent_records(run: Run, symmetry: Symmetry) -> Iterator[Run]:
    """The records that differ from the run by the symmetry alone."""
    if symmetry is Symmetry.LOSS_SCALE:
        yield from (with_loss_scaled(run, factor) for factor in LOSS_FACTORS)
    else:
        yield with_parameters_reversed(run)


def with_loss_scaled(run: Run, factor: float) -> Run:
    """The run with its loss times `factor` and optimizer settings that compensate for it.

    Gradients scale; updates and the metrics that the script itself reports stay as they were.
    """
    readings = dict(run.readings)
    for name in GRADIENT_QUANTITIES:
        readings[name] = readings[name] + math.log10(factor)
    groups = tuple(_scale_settings(group, factor) for group in run.structure.groups)
    readings["learning_rate"] = readings["learning_rate"] * _learning_rate_factors(run.structure.groups, factor)
    return replace(run, readings=readings, losses=run.losses * factor, structure=replace(run.structure, groups=groups))


def with_parameters_reversed(run: Run) -> Run:
    """The run with its parameters listed from the last to the first."""
    total = len(run.structure.parameters)
    order = list(reversed(range(total)))
    new_index = {old: new for new, old in enumerate(order)}
    sites = tuple(replace(s, parameters=tuple(new_index[i] for i in s.parameters)) for s in run.structure.sites)
    heads = tuple(replace(h, parameter=new_index.get(-1 if h.parameter is None else h.parameter)) for h in run.structure.heads)
    parameters = tuple(run.structure.parameters[i] for i in order)
    readings = {
        name: matrix[:, order] if QUANTITY_AXES.get(name) is Axis.PARAMETER and matrix.shape[1] == total else matrix
        for name, matrix in run.readings.items()
    }
    return replace(run, structure=replace(run.structure, parameters=parameters, sites=sites, heads=heads), readings=readings)


def _scale_settings(group: OptimizerGroup, factor: float) -> OptimizerGroup:
    """Settings that make the same steps from gradients times `factor`: SGD with a smaller rate, Adam with a larger eps.

    Weight decay that is added to the gradient scales with it; that of AdamW is not added.
    """
    is_decoupled = group.class_name.endswith("AdamW")
    factors = (
        {"eps": factor, "weight_decay": 1.0 if is_decoupled else factor}
        if _is_adaptive(group)
        else {"lr": 1 / factor, "weight_decay": factor}
    )
    return replace(group, settings=tuple((name, value * factors.get(name, 1.0)) for name, value in group.settings))


def _is_adaptive(group: OptimizerGroup) -> bool:
    """Whether the optimizer divides each gradient by its own running size, as Adam does."""
    return any(name == "eps" for name, _ in group.settings) or "Adam" in group.class_name


def _learning_rate_factors(groups: Sequence[OptimizerGroup], factor: float) -> NDArray[np.float64]:
    return np.array([1.0 if _is_adaptive(group) else 1 / factor for group in groups])


def _with_missing_readings(run: Run) -> Run:
    """The run with a fifth of its readings missing, always the same ones."""
    generator = np.random.default_rng(0)
    readings = {
        name: np.where(generator.random(matrix.shape) < MISSING_SHARE, np.nan, matrix) for name, matrix in run.readings.items()
    }
    return replace(run, readings=readings)


def _read_only_copy(array: Matrix) -> Matrix:
    copy = array.copy()
    copy.flags.writeable = False
    return copy
