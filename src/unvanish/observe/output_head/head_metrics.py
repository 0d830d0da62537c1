"""Metrics of one head: its loss and score, the loss of the best constant answer, and the ranges of outputs and targets.

The targets of the sampled steps are kept as counts and sums, from which the best answer that ignores the input is computed. Tensors
are read, never altered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unvanish.observe.output_head.criteria import Criterion
from unvanish.observe.statistics.tensor_statistics import Number, to_number

CLASSIFICATION = frozenset({"cross-entropy", "likelihood"})
BINARY = frozenset({"binary-cross-entropy", "binary-cross-entropy-with-logits"})
REGRESSION = frozenset({"squared", "absolute"})
MAX_COLUMNS = 256  # of a regression target; of more, evenly spaced ones are taken
MIN_TARGETS = 20  # with fewer, the loss of the best constant answer is NaN
BOUND_TOLERANCE = 1e-3  # of the targets' span: a bounded output that comes so near a target is taken to reach it
EPSILON = 1e-12
MIN_LOG = -100.0  # as in torch's binary cross entropy
MAX_SINGLETON_SHARE = 0.05
SUM_TOLERANCE = 0.05  # probabilities of one example sum to one


@dataclass(slots=True)
class TargetStatistics:
    """The targets of one head over all samples so far: counts of classes, or sums and sums of squares by column."""

    counts: Tensor | None = None
    sums: Tensor | None = None
    squares: Tensor | None = None
    rows: int = 0


def measure_head(criterion: Criterion, statistics: TargetStatistics) -> dict[str, Number]:
    """The numbers of a criterion at this step, by quantity name; its targets are added to `statistics`."""
    numbers: dict[str, Number] = {"comparisons": criterion.comparisons}
    prediction, target = criterion.prediction, criterion.target
    if prediction is not None and prediction.numel():
        numbers |= _output_metrics(prediction.float())
    if target is not None and target.numel():
        numbers |= _target_metrics(criterion, target)
    if prediction is None or target is None or not target.numel():
        return numbers
    if criterion.kind in CLASSIFICATION:
        return numbers | _classification_metrics(prediction.float(), target, statistics)
    if criterion.kind in BINARY:
        return numbers | _binary_metrics(prediction.float(), target.float(), statistics, criterion.kind)
    if criterion.kind in REGRESSION:
        return numbers | _regression_metrics(prediction.float(), target.float(), statistics, criterion.kind)
    return numbers


def _output_metrics(prediction: Tensor) -> dict[str, Number]:
    low, high = torch.aminmax(prediction)
    return {
        "output_low": to_number(low),
        "output_high": to_number(high),
        "output_zero_fraction": to_number((prediction == 0).float().mean()),
    }


def _target_metrics(criterion: Criterion, target: Tensor) -> dict[str, Number]:
    values = target.float()
    low, high = torch.aminmax(values)
    numbers: dict[str, Number] = {"target_low": to_number(low), "target_high": to_number(high)}
    if criterion.bounds is not None and criterion.kind in (REGRESSION | {"binary-cross-entropy"}):
        least, most = criterion.bounds
        slack = BOUND_TOLERANCE * (high - low).clamp_min(1.0)
        outside = (values < least - slack) | (values > most + slack)
        numbers["unreachable_fraction"] = to_number(outside.float().mean())
        if criterion.path.activations[-1] == "softmax" and values.dim() > 1 and values.shape[-1] > 1:
            is_unreachable = (values.sum(-1) - 1.0).abs() > SUM_TOLERANCE
            numbers["unreachable_fraction"] = to_number(is_unreachable.float().mean())
    elif criterion.kind == "binary-cross-entropy-with-logits":
        numbers["unreachable_fraction"] = to_number(((values < -BOUND_TOLERANCE) | (values > 1.0 + BOUND_TOLERANCE)).float().mean())
    return numbers


def class_labels(target: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
    """Class labels of shape (examples,), and a mask of those that count: ignored ones are negative in `target`.

    Of probabilities as targets, the label is the class of the largest.
    """
    if target.is_floating_point():
        flat = target.argmax(class_dim(prediction)).reshape(-1)
        return flat, torch.ones_like(flat, dtype=torch.bool)
    flat = target.reshape(-1)
    return flat.clamp_min(0), flat >= 0


def class_dim(prediction: Tensor) -> int:
    """The dimension of the classes in the input of torch's losses."""
    return 1 if prediction.dim() > 1 else 0


def _classification_metrics(log_probabilities: Tensor, target: Tensor, statistics: TargetStatistics) -> dict[str, Number]:
    dim = class_dim(log_probabilities)
    width = log_probabilities.shape[dim]
    labels, is_counted = class_labels(target, log_probabilities)
    if labels.numel() * width != log_probabilities.numel():
        return {}
    count = is_counted.float().sum().clamp_min(1.0)
    if statistics.counts is None or len(statistics.counts) != width:
        statistics.counts = torch.zeros(width, device=log_probabilities.device)
    statistics.counts.scatter_add_(0, labels.clamp_max(width - 1), is_counted.float())
    rows = log_probabilities.movedim(dim, -1).reshape(-1, width)  # (examples, classes)
    of_label = rows.gather(1, labels.clamp_max(width - 1)[:, None])[:, 0]
    is_correct = (rows.argmax(1) == labels) & is_counted
    log10_sums = torch.logsumexp(rows.double(), 1) / math.log(10.0)
    return {
        "loss": to_number(-(of_label * is_counted).sum() / count),
        "score": to_number(is_correct.float().sum() / count),
        "constant_loss": to_number(class_entropy(statistics.counts)),
        "log10_probability_sum": to_number(log10_sums.square().mean().sqrt()),
    }


def class_entropy(counts: Tensor) -> Tensor:
    """Entropy in nats of class counts, with the correction of Miller (1955) for small samples; NaN where it cannot be estimated.

    The probability of classes not seen yet is estimated by the share of examples whose class was seen once (Good 1953): where that
    is more than MAX_SINGLETON_SHARE, the entropy is not estimated.
    """
    total = counts.sum().clamp_min(1.0)
    shares = counts / total
    corrected = -(shares * shares.clamp_min(EPSILON).log()).sum() + ((counts > 0).sum() - 1).clamp_min(0) / (2 * total)
    is_known = ((counts == 1).sum() <= MAX_SINGLETON_SHARE * total) & (total >= MIN_TARGETS)
    return torch.where(is_known, corrected, torch.full_like(corrected, math.nan))


def _binary_metrics(prediction: Tensor, target: Tensor, statistics: TargetStatistics, kind: str) -> dict[str, Number]:
    if prediction.shape != target.shape:
        return {}
    mean = _update_moments(target, statistics)[0].double().clamp(EPSILON, 1 - EPSILON)  # of float32, 1 - EPSILON is 1
    shares = target.double().clamp(0.0, 1.0)
    constant = -(mean * mean.log() + (1 - mean) * (1 - mean).log()).mean()
    constant = constant if statistics.rows >= MIN_TARGETS else torch.full_like(constant, math.nan)
    if kind == "binary-cross-entropy":
        probability, label = prediction.clamp(0.0, 1.0), target.clamp(0.0, 1.0)
        log_one, log_zero = probability.log().clamp_min(MIN_LOG), (1 - probability).log().clamp_min(MIN_LOG)
        loss = -(label * log_one + (1 - label) * log_zero).mean()  # torch refuses its own under autocast
        predicted = prediction > 0.5
    else:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(prediction, target)
        predicted = prediction > 0
    return {
        "loss": to_number(loss),
        "constant_loss": to_number(constant),
        "least_loss": to_number(-(torch.xlogy(shares, shares) + torch.xlogy(1 - shares, 1 - shares)).mean()),
        "score": to_number((predicted == (target > 0.5)).float().mean()),
    }


def _regression_metrics(prediction: Tensor, target: Tensor, statistics: TargetStatistics, kind: str) -> dict[str, Number]:
    if prediction.shape != target.shape:
        return {}
    mean, variance = _update_moments(target, statistics)
    error = subsample_columns(prediction - target)
    squared = error.square().mean()
    variance = variance.mean()
    if kind == "absolute":
        loss, constant = error.abs().mean(), (subsample_columns(target) - mean).abs().mean()
    else:
        loss, constant = squared, variance
    constant = constant if statistics.rows >= MIN_TARGETS else torch.full_like(constant, math.nan)
    return {
        "loss": to_number(loss),
        "constant_loss": to_number(constant),
        "score": to_number(1.0 - squared / variance.clamp_min(torch.finfo(torch.float32).tiny)),
    }


def subsample_columns(target: Tensor) -> Tensor:
    """The target as (examples, columns), of which at most MAX_COLUMNS evenly spaced columns."""
    table = target.reshape(target.shape[0], -1) if target.dim() > 1 else target.reshape(-1, 1)
    return table[:, :: -(-table.shape[1] // MAX_COLUMNS)] if table.shape[1] > MAX_COLUMNS else table


def _update_moments(target: Tensor, statistics: TargetStatistics) -> tuple[Tensor, Tensor]:
    """Adds a batch of targets; returns mean and variance of shape (columns,) over all targets so far."""
    table = subsample_columns(target).double()
    if statistics.sums is None or statistics.squares is None or statistics.sums.shape != table.shape[1:]:
        statistics.sums, statistics.squares, statistics.rows = torch.zeros_like(table[0]), torch.zeros_like(table[0]), 0
    statistics.sums += table.sum(0)
    statistics.squares += table.square().sum(0)
    statistics.rows += len(table)
    mean = statistics.sums / statistics.rows
    return mean.float(), (statistics.squares / statistics.rows - mean.square()).clamp_min(0.0).float()
