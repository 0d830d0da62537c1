"""How good a network's answers are: against the best constant answer, and against what similar inputs were answered before.

The targets of the sampled steps are kept as counts and sums, and a few hundred examples as a memory of neighbours: what a network
that has learned nothing would get, and what there is to be learned at all. It reads tensors and alters none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unvanish.observe.head.criteria import Criterion
from unvanish.observe.statistics.tensor_statistics import Number, number

CLASSIFIERS = frozenset({"cross-entropy", "likelihood"})
BINARY = frozenset({"binary-cross-entropy", "binary-cross-entropy-with-logits"})
AMOUNTS = frozenset({"squared", "absolute"})
MOST_COLUMNS = 256  # of a target that is an amount; further ones are left out
FEWEST_TARGETS = 20  # below which the best constant answer is not known
TOLERANCE = 1e-3  # of the targets' span: what a bounded output cannot reach, but come as near to as no matter
EPSILON = 1e-12
LEAST_LOG = -100.0  # as in torch's binary cross entropy
UNSEEN = 0.05
SLACK_OF_SUMS = 0.05  # probabilities of one example sum to one


@dataclass(slots=True)
class TargetMemory:
    """What was asked of one head so far: counts of classes, or sums and squares of amounts by column."""

    counts: Tensor | None = None
    sums: Tensor | None = None
    squares: Tensor | None = None
    rows: int = 0


def judge(criterion: Criterion, memory: TargetMemory) -> dict[str, Number]:
    """The numbers of a criterion at this step, by the names of their quantities; its targets are taken into the memory."""
    numbers: dict[str, Number] = {"comparisons": criterion.comparisons}
    prediction, target = criterion.prediction, criterion.target
    if prediction is not None and prediction.numel():
        numbers |= _outputs(prediction.float())
    if target is not None and target.numel():
        numbers |= _targets(criterion, target)
    if prediction is None or target is None or not target.numel():
        return numbers
    if criterion.kind in CLASSIFIERS:
        return numbers | _of_classes(prediction.float(), target, memory)
    if criterion.kind in BINARY:
        return numbers | _of_binaries(prediction.float(), target.float(), memory, criterion.kind)
    if criterion.kind in AMOUNTS:
        return numbers | _of_amounts(prediction.float(), target.float(), memory, criterion.kind)
    return numbers


def _outputs(prediction: Tensor) -> dict[str, Number]:
    low, high = torch.aminmax(prediction)
    return {
        "output_low": number(low),
        "output_high": number(high),
        "output_zero_fraction": number((prediction == 0).float().mean()),
    }


def _targets(criterion: Criterion, target: Tensor) -> dict[str, Number]:
    values = target.float()
    low, high = torch.aminmax(values)
    numbers: dict[str, Number] = {"target_low": number(low), "target_high": number(high)}
    if criterion.bounds is not None and criterion.kind in (AMOUNTS | {"binary-cross-entropy"}):
        least, most = criterion.bounds
        slack = TOLERANCE * (high - low).clamp_min(1.0)
        outside = (values < least - slack) | (values > most + slack)
        numbers["unreachable_fraction"] = number(outside.float().mean())
        if criterion.way.squash[-1] == "softmax" and values.dim() > 1 and values.shape[-1] > 1:
            off = (values.sum(-1) - 1.0).abs() > SLACK_OF_SUMS
            numbers["unreachable_fraction"] = number(off.float().mean())
    elif criterion.kind == "binary-cross-entropy-with-logits":
        numbers["unreachable_fraction"] = number(((values < -TOLERANCE) | (values > 1.0 + TOLERANCE)).float().mean())
    return numbers


def classes_of(target: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
    """Class numbers, flat, and which of them count: what a loss is told to ignore is negative. Probabilities give their largest."""
    if target.is_floating_point():
        flat = target.argmax(class_dim(prediction)).reshape(-1)
        return flat, torch.ones_like(flat, dtype=torch.bool)
    flat = target.reshape(-1)
    return flat.clamp_min(0), flat >= 0


def class_dim(prediction: Tensor) -> int:
    """The dimension of the classes in torch's losses."""
    return 1 if prediction.dim() > 1 else 0


def _of_classes(logarithms: Tensor, target: Tensor, memory: TargetMemory) -> dict[str, Number]:
    dim = class_dim(logarithms)
    width = logarithms.shape[dim]
    classes, counted = classes_of(target, logarithms)
    if classes.numel() * width != logarithms.numel():
        return {}
    count = counted.float().sum().clamp_min(1.0)
    if memory.counts is None or len(memory.counts) != width:
        memory.counts = torch.zeros(width, device=logarithms.device)
    memory.counts.scatter_add_(0, classes.clamp_max(width - 1), counted.float())
    rows = logarithms.movedim(dim, -1).reshape(-1, width)
    own = rows.gather(1, classes.clamp_max(width - 1)[:, None])[:, 0]
    right = (rows.argmax(1) == classes) & counted
    sums = torch.logsumexp(rows.double(), 1) / math.log(10.0)
    return {
        "loss": number(-(own * counted).sum() / count),
        "score": number(right.float().sum() / count),
        "constant_loss": number(entropy(memory.counts)),
        "log10_probability_sum": number(sums.square().mean().sqrt()),
    }


def entropy(counts: Tensor) -> Tensor:
    """Entropy in nats from counts, with the correction of Miller (1955) for small samples; NaN where too much is still unseen.

    What is unseen is told by what was seen once (Good 1953): where that is more than UNSEEN of all, no estimate is worth having.
    """
    total = counts.sum().clamp_min(1.0)
    shares = counts / total
    plain = -(shares * shares.clamp_min(EPSILON).log()).sum() + ((counts > 0).sum() - 1).clamp_min(0) / (2 * total)
    known = ((counts == 1).sum() <= UNSEEN * total) & (total >= FEWEST_TARGETS)
    return torch.where(known, plain, torch.full_like(plain, math.nan))


def _of_binaries(prediction: Tensor, target: Tensor, memory: TargetMemory, kind: str) -> dict[str, Number]:
    if prediction.shape != target.shape:
        return {}
    mean = _take_in(target, memory)[0].double().clamp(EPSILON, 1 - EPSILON)  # of float32, 1 - EPSILON is 1
    shares = target.double().clamp(0.0, 1.0)
    constant = -(mean * mean.log() + (1 - mean) * (1 - mean).log()).mean()
    constant = constant if memory.rows >= FEWEST_TARGETS else torch.full_like(constant, math.nan)
    if kind == "binary-cross-entropy":
        inside, true = prediction.clamp(0.0, 1.0), target.clamp(0.0, 1.0)
        yes, no = inside.log().clamp_min(LEAST_LOG), (1 - inside).log().clamp_min(LEAST_LOG)
        loss = -(true * yes + (1 - true) * no).mean()  # torch refuses its own under autocast
        said = prediction > 0.5
    else:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(prediction, target)
        said = prediction > 0
    return {
        "loss": number(loss),
        "constant_loss": number(constant),
        "least_loss": number(-(torch.xlogy(shares, shares) + torch.xlogy(1 - shares, 1 - shares)).mean()),
        "score": number((said == (target > 0.5)).float().mean()),
    }


def _of_amounts(prediction: Tensor, target: Tensor, memory: TargetMemory, kind: str) -> dict[str, Number]:
    if prediction.shape != target.shape:
        return {}
    mean, variance = _take_in(target, memory)
    off = columns(prediction - target)
    squared = off.square().mean()
    variance = variance.mean()
    if kind == "absolute":
        loss, constant = off.abs().mean(), (columns(target) - mean).abs().mean()
    else:
        loss, constant = squared, variance
    constant = constant if memory.rows >= FEWEST_TARGETS else torch.full_like(constant, math.nan)
    return {
        "loss": number(loss),
        "constant_loss": number(constant),
        "score": number(1.0 - squared / variance.clamp_min(torch.finfo(torch.float32).tiny)),
    }


def columns(target: Tensor) -> Tensor:
    """Shape (rows, at most MOST_COLUMNS columns): one row for each element of the first dimension."""
    table = target.reshape(target.shape[0], -1) if target.dim() > 1 else target.reshape(-1, 1)
    return table[:, :: -(-table.shape[1] // MOST_COLUMNS)] if table.shape[1] > MOST_COLUMNS else table


def _take_in(target: Tensor, memory: TargetMemory) -> tuple[Tensor, Tensor]:
    """Mean and variance by column over all targets so far, these included."""
    table = columns(target).double()
    if memory.sums is None or memory.squares is None or memory.sums.shape != table.shape[1:]:
        memory.sums, memory.squares, memory.rows = torch.zeros_like(table[0]), torch.zeros_like(table[0]), 0
    memory.sums += table.sum(0)
    memory.squares += table.square().sum(0)
    memory.rows += len(table)
    mean = memory.sums / memory.rows
    return mean.float(), (memory.squares / memory.rows - mean.square()).clamp_min(0.0).float()
