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
    NETWORK = "network"
    HEAD = "head"


class MergedBy(StrEnum):
    """How the values that several processes measured at one step become that of all of them together.

    Means and RMS are weighted: for a parameter by the elements that each process holds, for the rest by the examples that each saw.
    """

    MEAN = "mean"
    RMS = "rms"  # of values that are log10: the log10 of the RMS
    DEVIATION = "deviation"  # of a standard deviation: about the common mean
    COSINE = "cosine"  # of vectors of which each process holds a part: dot products are added, and squares of lengths
    SUM = "sum"
    LEAST = "least"
    GREATEST = "greatest"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One measurable: its name, unit and axis, what it says in a line, and how several processes' values are merged."""

    name: str
    unit: str
    axis: Axis
    meaning: str
    merged_by: MergedBy = MergedBy.MEAN


QUANTITIES: tuple[Quantity, ...] = (
    Quantity("activation_mean", "1", Axis.SITE, "mean of the site's output"),
    Quantity("activation_std", "1", Axis.SITE, "standard deviation of the site's output", MergedBy.DEVIATION),
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
        MergedBy.RMS,
    ),
    Quantity("nonfinite_count", "count", Axis.SITE, "NaN and infinite values in the output", MergedBy.SUM),
    Quantity("example_cosine", "cosine", Axis.SITE, "mean cosine between the outputs of different examples"),
    Quantity("example_spread", "ratio", Axis.SITE, "how far the outputs of different examples differ, over the output's RMS"),
    Quantity(
        "attention_entropy",
        "fraction",
        Axis.SITE,
        "entropy of the attention weights over that of uniform ones: 1 looks everywhere, 0 at one place only",
    ),
    Quantity(
        "values_per_statistic",
        "count",
        Axis.SITE,
        "values from which a batch normalisation computes each of its means and variances",
    ),
    Quantity(
        "evaluation_gap",
        "1",
        Axis.SITE,
        "how far a batch normalisation's output would be another one in evaluation mode, RMS in standard deviations of a channel",
    ),
    Quantity("log10_gradient_rms", "log10", Axis.SITE, "RMS of the loss's gradient at the site's output", MergedBy.RMS),
    Quantity("gradient_zero_fraction", "fraction", Axis.SITE, "share of that gradient that is exactly zero"),
    Quantity(
        "log10_smallest_gradient",
        "log10",
        Axis.SITE,
        "the smallest positive number that the gradient's type of number can hold",
        MergedBy.LEAST,
    ),
    Quantity(
        "gradient_nonfinite",
        "count",
        Axis.SITE,
        "gradients at the site's output, in this step, that held NaN or infinite values",
        MergedBy.SUM,
    ),
    Quantity("log10_weight_rms", "log10", Axis.PARAMETER, "RMS of the parameter before the update", MergedBy.RMS),
    Quantity(
        "log10_weight_gradient_rms",
        "log10",
        Axis.PARAMETER,
        "RMS of the gradient that the optimizer used; NaN where it got none",
        MergedBy.RMS,
    ),
    Quantity("log10_update_rms", "log10", Axis.PARAMETER, "RMS of the change that the step really made", MergedBy.RMS),
    Quantity(
        "unit_spread",
        "ratio",
        Axis.PARAMETER,
        "how far the rows of a weight matrix differ from each other, over its RMS",
    ),
    Quantity(
        "gradient_agreement",
        "cosine",
        Axis.PARAMETER,
        "cosine between the gradient that the optimizer used and the one that it used at the sample before",
        MergedBy.COSINE,
    ),
    Quantity("gradient_along_weight", "cosine", Axis.PARAMETER, "cosine between that gradient and the weight", MergedBy.COSINE),
    Quantity(
        "log10_stale_share",
        "log10",
        Axis.PARAMETER,
        "gradient that the step before had left when backward began, over the one used; -inf where it had been cleared",
        MergedBy.RMS,
    ),
    Quantity("learning_rate", "1", Axis.GROUP, "learning rate of the group at this step"),
    Quantity(
        "log10_gradient_kept",
        "log10",
        Axis.GROUP,
        "norm of the gradient that the optimizer used over that which backward left: what clipping or unscaling did",
    ),
    Quantity(
        "batch_size", "count", Axis.NETWORK, "examples that the network was given in this step, over all its calls", MergedBy.SUM
    ),
    Quantity("log10_input_rms", "log10", Axis.NETWORK, "RMS of the network's input", MergedBy.RMS),
    Quantity("log10_largest_feature", "log10", Axis.NETWORK, "RMS of the largest feature of the input", MergedBy.RMS),
    Quantity(
        "log10_median_feature", "log10", Axis.NETWORK, "RMS of the feature of the input that is in the middle by size", MergedBy.RMS
    ),
    Quantity("input_offset", "ratio", Axis.NETWORK, "size of the input's mean over its standard deviation"),
    Quantity("loss", "1", Axis.HEAD, "the criterion's value, its mean over what it judges"),
    Quantity("constant_loss", "1", Axis.HEAD, "that of the best answer that ignores the input, for the targets so far"),
    Quantity("least_loss", "1", Axis.HEAD, "the least that these targets allow: more than 0 where they are shares between 0 and 1"),
    Quantity("score", "fraction", Axis.HEAD, "share of right answers; of the variance explained where targets are amounts"),
    Quantity(
        "neighbour_correlation",
        "correlation",
        Axis.HEAD,
        "correlation of the true answers with those of the most similar inputs of earlier samples, over all new examples so far",
    ),
    Quantity("neighbour_count", "count", Axis.HEAD, "the number of these examples", MergedBy.SUM),
    Quantity("seen_before", "fraction", Axis.HEAD, "share of the sampled examples so far that were in an earlier sample too"),
    Quantity("target_low", "1", Axis.HEAD, "smallest target", MergedBy.LEAST),
    Quantity("target_high", "1", Axis.HEAD, "largest target", MergedBy.GREATEST),
    Quantity("output_low", "1", Axis.HEAD, "smallest value that the criterion was given", MergedBy.LEAST),
    Quantity("output_high", "1", Axis.HEAD, "largest value that the criterion was given", MergedBy.GREATEST),
    Quantity("output_zero_fraction", "fraction", Axis.HEAD, "share of these values that is exactly zero"),
    Quantity(
        "unreachable_fraction", "fraction", Axis.HEAD, "share of the targets that the network's last operation cannot put out"
    ),
    Quantity(
        "log10_probability_sum",
        "log10",
        Axis.HEAD,
        "of what a likelihood takes for the logarithms of probabilities: RMS of the log10 of their sum, which is 0 where they are",
        MergedBy.RMS,
    ),
    Quantity("comparisons", "count", Axis.HEAD, "what the criterion compares, for each value that the network put out"),
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
