"""Runs made by hand: a plain chain of layers whose readings are those of a healthy training, and ways to make it sick.

Every function returns a new record; none alters the one that it is given. It never trains anything, and needs neither torch nor
pytest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unvanish.record.reading import QUANTITIES, Axis
from unvanish.record.run import Facts, Matrix, Run
from unvanish.record.structure import Head, Location, ModelStructure, Network, OptimizerGroup, Parameter, Site

SAMPLED = (*range(1, 11), 20, 40, 80, 160)
STEPS = 200
LAYERS = 6
WIDTH = 16
CHANCE = 2.3  # the loss of blind guessing among ten classes, ln 10

# What a healthy training reads at every sample. A quantity that is not here was not measured.
HEALTHY: Mapping[str, float] = MappingProxyType(
    {
        "activation_mean": 0.1,
        "activation_std": 1.0,
        "zero_fraction": 0.5,
        "silent_fraction": 0.05,
        "saturated_fraction": 0.1,
        "log10_slope_rms": -0.15,
        "nonfinite_count": 0.0,
        "example_cosine": 0.3,
        "example_spread": 0.8,
        "values_per_statistic": 64.0,
        "evaluation_gap": 0.1,
        "log10_gradient_rms": -3.0,
        "gradient_zero_fraction": 0.3,
        "log10_smallest_gradient": -44.85,  # float32
        "gradient_nonfinite": 0.0,
        "log10_weight_rms": -1.0,
        "log10_weight_gradient_rms": -3.0,
        "log10_update_rms": -4.0,
        "unit_spread": 1.0,
        "gradient_agreement": 0.5,
        "gradient_along_weight": 0.0,
        "log10_stale_share": -np.inf,
        "learning_rate": 0.1,
        "log10_gradient_kept": 0.0,
        "batch_size": 64.0,
        "log10_input_rms": 0.0,
        "log10_largest_feature": 0.2,
        "log10_median_feature": 0.0,
        "input_offset": 0.1,
        "constant_loss": CHANCE,
        "score": 0.9,
        "neighbour_correlation": 0.8,
        "neighbour_count": 500.0,
        "seen_before": 0.0,
        "target_low": 0.0,
        "target_high": 9.0,
        "output_low": -5.0,
        "output_high": 5.0,
        "output_zero_fraction": 0.0,
        "comparisons": 1.0,
    }
)
# Quantities that only one kind of site has; at all others they are missing.
ONLY_OF: Mapping[str, str] = MappingProxyType(
    {
        "silent_fraction": "activation",
        "saturated_fraction": "activation",
        "log10_slope_rms": "activation",
        "values_per_statistic": "normalisation",
        "evaluation_gap": "normalisation",
        "attention_entropy": "attention",
    }
)


def falling(steps: int = STEPS, *, start: float = CHANCE, end: float = 0.2) -> NDArray[np.float64]:
    """A loss that falls, quickly first and slowly then, with a little noise; float64 of shape (steps,)."""
    noise = 0.01 * np.random.default_rng(0).standard_normal(steps)
    return end + (start - end) * np.exp(-6 * np.arange(steps) / steps) + noise


def flat(steps: int = STEPS, level: float = CHANCE) -> NDArray[np.float64]:
    """A loss that stays where it is, with a little noise; float64 of shape (steps,)."""
    return level + 0.01 * np.random.default_rng(1).standard_normal(steps)


def anatomy(
    layers: int = LAYERS, op: str = "relu", *, normalised: bool = False, merges: int = 0, heads: Sequence[Head] = ()
) -> ModelStructure:
    """`layers` linear layers with an activation behind each but the last; one optimizer owns all of their weights.

    `normalised` puts a batch normalisation behind each, `merges` a residual sum behind the first so many. `heads` are the criteria
    that judge the output.
    """
    sites: list[Site] = []
    parameters: list[Parameter] = []

    def add(name: str, kind: str, owned: tuple[int, ...] = ()) -> None:
        line = Location("/srv/train.py", 10 + len(sites), name)
        sites.append(Site(0, str(len(sites)), name, kind, len(sites), location=line, parameters=owned))

    for layer in range(layers):
        parameters.append(Parameter(0, f"{len(sites)}.weight", (WIDTH, WIDTH), group=0))
        add("linear", "weight", (layer,))
        if normalised:
            add("batchnorm1d", "normalisation")
        if layer < layers - 1:
            add(op, "activation")
        if layer < merges:
            add("block", "merge")
    groups = (OptimizerGroup(0, "SGD", (("lr", 0.1),)),)
    return ModelStructure((Network("net", "Net"),), tuple(sites), tuple(parameters), groups, tuple(heads))


def opponents() -> ModelStructure:
    """Two networks of three layers, each with an optimizer of its own."""
    one = anatomy(3)
    sites = [replace(site, network=1, parameters=tuple(i + 3 for i in site.parameters)) for site in one.sites]
    parameters = [replace(parameter, network=1, group=1) for parameter in one.parameters]
    networks = (Network("generator", "Net"), Network("critic", "Net"))
    groups = tuple(OptimizerGroup(i, "Adam", (("lr", 0.1),)) for i in range(2))
    return ModelStructure(networks, (*one.sites, *sites), (*one.parameters, *parameters), groups)


def healthy(structure: ModelStructure | None = None, *, losses: ArrayLike | None = None, sampled: Sequence[int] = SAMPLED) -> Run:
    """A run of that structure with nothing wrong. `losses` has shape (steps,) or (steps, objectives)."""
    built = anatomy() if structure is None else structure
    course = np.asarray(falling() if losses is None else losses, np.float64)
    course = course[:, None] if course.ndim == 1 else course
    lengths = {
        Axis.SITE: len(built.sites),
        Axis.PARAMETER: len(built.parameters),
        Axis.GROUP: len(built.groups),
        Axis.NETWORK: len(built.networks),
        Axis.HEAD: len(built.heads),
    }
    readings = {q.name: np.full((len(sampled), lengths[q.axis]), HEALTHY.get(q.name, np.nan)) for q in QUANTITIES}
    for name, kind in ONLY_OF.items():
        readings[name][:, [i for i, site in enumerate(built.sites) if site.kind != kind]] = np.nan
    readings["loss"] = np.repeat(_at(course[:, 0], sampled)[:, None], len(built.heads), axis=1)
    steps = np.arange(1, len(course) + 1)
    return Run(Facts(ending="finished"), built, np.array(sampled, np.int64), readings, steps, steps / 100.0, course)


def reading(run: Run, name: str, values: ArrayLike, *, of: Sequence[int] | slice = slice(None), since: int = 1) -> Run:
    """The run with other values of a quantity, at those indices of its axis, from step `since` on."""
    matrix = run.readings[name].copy()
    rows = np.flatnonzero(run.sampled >= since)
    block = matrix[rows]
    block[:, of] = values
    matrix[rows] = block
    return replace(run, readings={**run.readings, name: matrix})


def kinds(run: Run, kind: str) -> list[int]:
    """Indices of the sites of a kind."""
    return [i for i, site in enumerate(run.anatomy.sites) if site.kind == kind]


def slope(run: Run, decades: float) -> Run:
    """The run with a gradient that is `decades` larger at the input than at the output, evenly over the depth."""
    return reading(run, "log10_gradient_rms", -3.0 + np.linspace(decades, 0.0, len(run.anatomy.sites)))


def owned(run: Run, group: int | None, *, of: Sequence[int], registered: bool = True) -> Run:
    """The run with other owners of these parameters."""
    parameters = tuple(
        replace(p, group=group, registered=registered) if i in of else p for i, p in enumerate(run.anatomy.parameters)
    )
    return replace(run, anatomy=replace(run.anatomy, parameters=parameters))


def _at(losses: NDArray[np.float64], sampled: Sequence[int]) -> Matrix:
    """The loss at each sampled step; NaN beyond the end."""
    steps = np.array(sampled, np.int64) - 1
    return np.array([losses[step] if step < len(losses) else np.nan for step in steps], np.float64)
