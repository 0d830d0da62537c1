"""What is measured at a sampled step: the table of quantities, and the rows that carry their values.

RMS values are kept as log10, since a gradient of 1e-60 has no float32. An exact zero is -inf, "not measured" is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]


class Axis(StrEnum):
    """What a quantity has one value for."""

    SITE = "site"
    PARAMETER = "parameter"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One measurable: its name, unit and axis, and what it says in a line."""

    name: str
    unit: str
    axis: Axis
    meaning: str


QUANTITIES: tuple[Quantity, ...] = (
    Quantity("activation_mean", "1", Axis.SITE, "mean of the site's output"),
    Quantity("activation_std", "1", Axis.SITE, "standard deviation of the site's output"),
    Quantity("zero_fraction", "fraction", Axis.SITE, "share of the output that is exactly zero"),
    Quantity("silent_fraction", "fraction", Axis.SITE, "share of units whose output is zero for every example of the batch"),
    Quantity(
        "saturated_fraction",
        "fraction",
        Axis.SITE,
        "share of the activation's inputs where its slope is under a twentieth of its steepest",
    ),
    Quantity(
        "log10_slope_rms",
        "log10",
        Axis.SITE,
        "RMS of the activation's local derivative: the gain it gives the gradient",
    ),
    Quantity("nonfinite_count", "count", Axis.SITE, "NaN and infinite values in the output"),
    Quantity("example_cosine", "cosine", Axis.SITE, "mean cosine between the outputs of different examples"),
    Quantity("log10_gradient_rms", "log10", Axis.SITE, "RMS of the loss's gradient at the site's output"),
    Quantity(
        "gradient_nonfinite", "count", Axis.SITE, "gradients at the site's output, in this step, that held NaN or infinite values"
    ),
    Quantity("log10_weight_rms", "log10", Axis.PARAMETER, "RMS of the parameter before the update"),
    Quantity(
        "log10_weight_gradient_rms", "log10", Axis.PARAMETER, "RMS of the gradient that the optimizer used; NaN where it got none"
    ),
    Quantity("log10_update_rms", "log10", Axis.PARAMETER, "RMS of the change that the step really made"),
    Quantity(
        "unit_spread",
        "ratio",
        Axis.PARAMETER,
        "how far the rows of a weight matrix differ from each other, over its RMS",
    ),
    Quantity("learning_rate", "1", Axis.GROUP, "learning rate of the group at this step"),
)


def quantities(axis: Axis) -> tuple[Quantity, ...]:
    """The quantities of one axis, in the order in which a row packs them."""
    return tuple(q for q in QUANTITIES if q.axis is axis)


@dataclass(frozen=True, slots=True)
class Reading:
    """One sampled step. `values[axis]` is float32 of shape (quantities of that axis, length of that axis at the time)."""

    step: int
    own_ms: float
    values: dict[Axis, Vector]


@dataclass(frozen=True, slots=True)
class StepMark:
    """One training step, sampled or not: when it ended (seconds since the run began), and the loss of each objective.

    An objective is an optimizer, in the order in which they first stepped; its loss is the mean of the losses on which
    `backward` was called for that step. NaN where an objective had none in this step;
    a loss that was itself NaN is kept as inf.
    """

    step: int
    ended_s: float
    losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that the script reported by `unvanish.log` or printed: its name, value, and the step it belongs to."""

    step: int
    name: str
    value: float
