"""Builds run records by hand: a healthy training of a plain network, and functions that return it with other readings.

Every function returns a new record and leaves its argument as it was. Nothing is trained; neither torch nor pytest is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unvanish.record.quantities import QUANTITIES, Axis
from unvanish.record.run import Facts, Matrix, Run
from unvanish.record.structure import Head, Location, ModelStructure, Network, OptimizerGroup, Parameter, Site

SAMPLED_STEPS = (*range(1, 11), 20, 40, 80, 160)
STEPS = 200
LAYERS = 6
WIDTH = 16
CHANCE_LOSS = 2.3  # the loss of guessing among ten classes, ln 10

# The readings of a healthy training at every sample. A quantity that is not listed was not measured (NaN).
HEALTHY_READINGS: Mapping[str, float] = MappingProxyType(
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
        "constant_loss": CHANCE_LOSS,
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
# Quantities that only one kind of site has; at all others they are NaN.
ONLY_AT_KIND: Mapping[str, str] = MappingProxyType(
    {
        "silent_fraction": "activation",
        "saturated_fraction": "activation",
        "log10_slope_rms": "activation",
        "values_per_statistic": "normalisation",
        "evaluation_gap": "normalisation",
        "attention_entropy": "attention",
    }
)


def falling_loss(steps: int = STEPS, *, start: float = CHANCE_LOSS, end: float = 0.2) -> NDArray[np.float64]:
    """A loss that falls exponentially from `start` towards `end`, with noise of 0.01; float64 of shape (steps,)."""
    noise = 0.01 * np.random.default_rng(0).standard_normal(steps)
    return end + (start - end) * np.exp(-6 * np.arange(steps) / steps) + noise


def flat_loss(steps: int = STEPS, level: float = CHANCE_LOSS) -> NDArray[np.float64]:
    """A constant loss with noise of 0.01; float64 of shape (steps,)."""
    return level + 0.01 * np.random.default_rng(1).standard_normal(steps)


def model_structure(
    layers: int = LAYERS, op: str = "relu", *, normalised: bool = False, merges: int = 0, heads: Sequence[Head] = ()
) -> ModelStructure:
    """The structure of `layers` linear layers with an activation after each but the last; one SGD group owns all weights.

    Arguments:
        layers: number of linear layers, 16 units wide.
        op: name of the activation, as in `Site.op`.
        normalised: adds a batch normalisation after each linear layer.
        merges: number of layers, from the first, that end with a residual sum.
        heads: the loss functions applied to the output.

    Example:
        >>> structure = model_structure(3, "tanh")
        >>> [site.op for site in structure.sites]
        ['linear', 'tanh', 'linear', 'tanh', 'linear']
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


def adversarial_structure() -> ModelStructure:
    """The structure of two networks of three layers, "generator" and "critic", each with an Adam group of its own."""
    one = model_structure(3)
    sites = [replace(site, network=1, parameters=tuple(i + 3 for i in site.parameters)) for site in one.sites]
    parameters = [replace(parameter, network=1, group=1) for parameter in one.parameters]
    networks = (Network("generator", "Net"), Network("critic", "Net"))
    groups = tuple(OptimizerGroup(i, "Adam", (("lr", 0.1),)) for i in range(2))
    return ModelStructure(networks, (*one.sites, *sites), (*one.parameters, *parameters), groups)


def healthy(
    structure: ModelStructure | None = None, *, losses: ArrayLike | None = None, sampled: Sequence[int] = SAMPLED_STEPS
) -> Run:
    """The run of a healthy training.

    Arguments:
        structure: by default `model_structure()`.
        losses: shape (steps,) or (steps, objectives); by default `falling_loss()`, 200 steps.
        sampled: the steps at which quantities were read, counted from 1.

    Example:
        >>> from unvanish.diagnose import diagnose
        >>> [finding.code for finding in diagnose(healthy())]
        []
    """
    if structure is None:
        structure = model_structure()
    loss_array = np.asarray(falling_loss() if losses is None else losses, np.float64)
    loss_array = loss_array[:, None] if loss_array.ndim == 1 else loss_array  # (steps, objectives)
    lengths = {
        Axis.SITE: len(structure.sites),
        Axis.PARAMETER: len(structure.parameters),
        Axis.GROUP: len(structure.groups),
        Axis.NETWORK: len(structure.networks),
        Axis.HEAD: len(structure.heads),
    }
    readings = {q.name: np.full((len(sampled), lengths[q.axis]), HEALTHY_READINGS.get(q.name, np.nan)) for q in QUANTITIES}
    for name, kind in ONLY_AT_KIND.items():
        readings[name][:, [i for i, site in enumerate(structure.sites) if site.kind != kind]] = np.nan
    readings["loss"] = np.repeat(_losses_at(loss_array[:, 0], sampled)[:, None], len(structure.heads), axis=1)
    steps = np.arange(1, len(loss_array) + 1)
    return Run(Facts(ending="finished"), structure, np.array(sampled, np.int64), readings, steps, steps / 100.0, loss_array)


def with_reading(run: Run, name: str, values: ArrayLike, *, of: Sequence[int] | slice = slice(None), since: int = 1) -> Run:
    """The run with other values of one quantity.

    Arguments:
        run: left as it was.
        name: a quantity of `unvanish.record.quantities.QUANTITIES`.
        values: a number, or an array that broadcasts to (samples from `since` on, indices in `of`).
        of: indices on the axis of the quantity (sites, parameters, groups, networks or heads); by default all.
        since: the first step with the new values.

    Raises KeyError where there is no such quantity.

    Example:
        >>> run = with_reading(healthy(), "activation_std", 1e-5, of=[2, 3], since=20)
        >>> run.readings["activation_std"][[0, -1], 2].tolist()
        [1.0, 1e-05]
    """
    matrix = run.readings[name].copy()
    rows = np.flatnonzero(run.sampled >= since)
    block = matrix[rows]
    block[:, of] = values
    matrix[rows] = block
    return replace(run, readings={**run.readings, name: matrix})


def site_indices(run: Run, kind: str) -> list[int]:
    """The indices of the sites of a kind, such as "activation"."""
    return [i for i, site in enumerate(run.structure.sites) if site.kind == kind]


def with_gradient_slope(run: Run, decades: float) -> Run:
    """The run with a gradient `decades` larger at the first site than at the last, linear in log10 over the depth."""
    return with_reading(run, "log10_gradient_rms", -3.0 + np.linspace(decades, 0.0, len(run.structure.sites)))


def with_owner(run: Run, group: int | None, *, of: Sequence[int], registered: bool = True) -> Run:
    """The run with the parameters `of` in another optimizer group; None: in no group."""
    parameters = tuple(
        replace(p, group=group, registered=registered) if i in of else p for i, p in enumerate(run.structure.parameters)
    )
    return replace(run, structure=replace(run.structure, parameters=parameters))


def _losses_at(losses: NDArray[np.float64], sampled: Sequence[int]) -> Matrix:
    """The loss at each sampled step; NaN beyond the end."""
    steps = np.array(sampled, np.int64) - 1
    return np.array([losses[step] if step < len(losses) else np.nan for step in steps], np.float64)
