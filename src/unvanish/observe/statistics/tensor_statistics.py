"""Numbers about one tensor, cheap enough for a training step. It alters nothing, draws no random number, and never waits.

On the CPU a number is a float at once. On an accelerator it is a 0-dim float64 tensor that stays there: `settle` reads all
of a step's numbers back in one transfer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

# Means, deviations and cosines are taken over a regular subsample of at most 32 examples by about 256 features: their standard
# error is then about 1 % of the deviation, at a cost that does not grow with the layer. Norms and counts use every element.
EXAMPLES = 32
FEATURES = 256
SLOPES = 1024
ZEROS = 2**17
# Below and above these norms the squares of float32 leave its range, and the norm is taken again in float64.
SMALLEST_NORM = 1e-15
LARGEST_NORM = 1e15
# Step of the differences in float64, relative above 1: they err by some 1e-5 of the slope, and by 1e-11 where it is flat.
DIFFERENCE = 1e-5
STEEPEST_RANGE = 8.0  # the slopes of all catalogued activations are steepest well within +-8
SATURATED = 0.05  # of the steepest slope; for the sigmoid that is |z| > 4.4, an output within 0.013 of its bounds

Number = float | Tensor


def number(value: Tensor) -> Number:
    """The 0-dim tensor as a float where that costs no synchronisation, else itself in float64."""
    return value.item() if value.device.type == "cpu" else value.double()


def norm(tensor: Tensor) -> Number:
    """The Euclidean norm of a detached tensor of any shape, right also where float32 squares would underflow or overflow."""
    tensor = dense(tensor)
    if tensor.device.type != "cpu":
        return torch.linalg.vector_norm(tensor, dtype=torch.float64)
    quick = torch.linalg.vector_norm(tensor, dtype=torch.promote_types(tensor.dtype, torch.float32)).item()
    if SMALLEST_NORM < quick < LARGEST_NORM:
        return quick
    return torch.linalg.vector_norm(tensor, dtype=torch.float64).item()


def dense(tensor: Tensor) -> Tensor:
    """The values of a tensor whose zeros do not matter to its norm; complex values as pairs of reals."""
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def log10_rms(norms: Sequence[float], sizes: Sequence[int]) -> float:
    """log10 of the RMS over several tensors, from the norm and the number of elements of each; -inf where all are zero.

    Summed in the log domain, so that neither 1e-300 nor 1e300 is lost. NaN where there is nothing, or anything is NaN.
    """
    if not norms or any(math.isnan(n) for n in norms):
        return math.nan
    largest = max(norms)
    if largest == 0 or math.isinf(largest):
        return -math.inf if largest == 0 else math.inf
    squares = math.fsum((n / largest) ** 2 for n in norms)
    return math.log10(largest) + 0.5 * math.log10(squares / sum(sizes))


def subsample(output: Tensor) -> Tensor:
    """A float32 copy of at most EXAMPLES rows and FEATURES columns, evenly spaced; shape (rows, columns)."""
    rows = output[:: max(1, -(-output.shape[0] // EXAMPLES))] if output.dim() > 1 else output[:, None]
    rows = rows.flatten(1)
    return rows[:, :: max(1, rows.shape[1] // FEATURES)].to(torch.float32, copy=True)


def describe(samples: Sequence[Tensor]) -> list[tuple[float, float, float, float, float]]:
    """Mean, standard deviation, share of zeros, mean cosine between different rows, and how far the rows lie from their mean over
    their RMS, for each sample of shape (rows, columns).

    Samples of one shape are worked out together, a dozen kernels for all of them, in float64: the squares of an exploded or
    vanished activation leave the range of float32. The cosine is NaN under two non-zero rows, the last one under two rows.
    """
    return _in_batches(samples, _describe_batch)


def _describe_batch(batch: Tensor) -> Tensor:
    mean = batch.mean((1, 2))
    spread = (batch - mean[:, None, None]).square().mean((1, 2)).sqrt()
    zeros = (batch == 0).float().mean((1, 2))
    lengths = torch.linalg.vector_norm(batch, dim=2, keepdim=True)
    present = (lengths > 0).sum((1, 2))
    total = (batch / lengths.clamp_min(torch.finfo(batch.dtype).tiny)).sum(1).square().sum(1)
    cosine = (total - present) / (present * (present - 1))
    apart = torch.linalg.vector_norm(batch - batch.mean(1, keepdim=True), dim=(1, 2)) / torch.linalg.vector_norm(batch, dim=(1, 2))
    apart = apart if batch.shape[1] > 1 else torch.full_like(apart, math.nan)
    return torch.stack([mean, spread, zeros, cosine, apart], 1)


def row_spreads(samples: Sequence[Tensor]) -> list[float]:
    """How far the rows of each sample differ: RMS of row minus mean row, over the sample's RMS. NaN where all is zero."""
    return [spread for (spread,) in _in_batches(samples, _row_spread_batch)]


def _row_spread_batch(batch: Tensor) -> Tensor:
    deviation = torch.linalg.vector_norm(batch - batch.mean(1, keepdim=True), dim=(1, 2))
    return (deviation / torch.linalg.vector_norm(batch, dim=(1, 2)))[:, None]


def _in_batches(samples: Sequence[Tensor], work: Callable[[Tensor], Tensor]) -> list[Any]:
    """`work` on stacks of the samples that share shape and device; one row of its result for each sample, in their order."""
    groups: dict[tuple[torch.Size, torch.device], list[int]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault((sample.shape, sample.device), []).append(index)
    rows: list[Any] = [None] * len(samples)
    for indices in groups.values():
        table = work(torch.stack([samples[i] for i in indices]).double()).tolist()
        for index, row in zip(indices, table, strict=True):
            rows[index] = tuple(row)
    return rows


def silent_share(output: Tensor) -> Number:
    """The share of units that are zero for every example and position; units are channels: dim 1 of images, else the last."""
    channel = 1 if output.dim() >= 4 else output.dim() - 1
    others = [d for d in range(output.dim()) if d != channel]
    if not others:
        return number((output == 0).float().mean())
    return number(((output.amax(others) == 0) & (output.amin(others) == 0)).float().mean())


def zero_share(tensor: Tensor) -> Number:
    """The share of elements that are exactly zero; of a large tensor evenly spaced rows are counted, about ZEROS elements."""
    rows = tensor[:: max(1, -(-tensor.numel() // ZEROS))] if tensor.dim() else tensor
    return number(1.0 - torch.count_nonzero(rows) / max(1, rows.numel()))


@cache
def log10_smallest(dtype: torch.dtype) -> float:
    """log10 of the smallest positive number of a floating type, subnormal ones included."""
    return math.log10(torch.finfo(dtype).smallest_normal) + math.log10(torch.finfo(dtype).eps)


def input_numbers(inputs: Tensor) -> dict[str, Number]:
    """The size of a network's input, by the names of its quantities; `inputs` has examples first. Features are what follows.

    The size of a feature is its RMS over the examples (and positions, of images and sequences: channels are features there).
    """
    rows = inputs.detach()
    sample = subsample(rows).double()
    by_feature = _feature_squares(rows, sample)
    size, spread = sample.square().mean().sqrt(), (sample - sample.mean()).square().mean().sqrt()
    tiny = torch.finfo(torch.float64).tiny
    return {
        "log10_input_rms": number(size.clamp_min(tiny).log10()),
        "log10_largest_feature": number(by_feature.max().clamp_min(tiny).log10() / 2),
        "log10_median_feature": number(by_feature.median().clamp_min(tiny).log10() / 2),
        "input_offset": number(sample.mean().abs() / spread),
    }


def _feature_squares(rows: Tensor, sample: Tensor) -> Tensor:
    """Mean square of each feature: columns of a table, channels of images (dim 1), of sequences the last dimension."""
    if rows.dim() <= 2:
        return sample.square().mean(0)
    thinned = rows[:: max(1, -(-rows.shape[0] // EXAMPLES))].double()
    channel = 1 if rows.dim() >= 4 else rows.dim() - 1
    return thinned.square().mean([d for d in range(rows.dim()) if d != channel])


def nonfinite(output: Tensor) -> Number:
    """How many elements are NaN or infinite. On the CPU a finite sum settles it in one pass."""
    if output.device.type == "cpu" and math.isfinite(output.sum().item()):
        return 0.0
    return number(output.numel() - torch.isfinite(output).sum())


@dataclass(frozen=True, slots=True)
class SlopeSample:
    """Inputs of one call of an elementwise activation, flat and float64, and the way to evaluate it at others.

    Samples of equal `form` (name and settings) may be evaluated together.
    """

    form: str
    inputs: Tensor
    function: Callable[[Tensor], Tensor]


def slopes(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """The size of the local derivative of an elementwise function at a flat float64 sample; same shape.

    The smaller one of the two one-sided differences: at a kink it is what torch's own backward uses (selu's and clamp's
    excepted), and beside a jump (hardshrink, threshold) the side without it. No autograd: inside a checkpointed region the
    tensors that it would save would break the user's own backward pass.
    """
    with torch.no_grad():
        step = DIFFERENCE * inputs.abs().clamp_min(1)
        above, below = inputs + step, inputs - step
        ahead, behind = above - inputs, inputs - below  # before the calls, which may work in place
        here = function(inputs.clone())
        right, left = (function(above) - here) / ahead, (here - function(below)) / behind
        return torch.minimum(right.abs(), left.abs())


def slope_numbers(samples: Sequence[SlopeSample]) -> list[tuple[float, float]]:
    """For each sample the RMS of the local derivative, and the share of inputs where it is under SATURATED of the steepest."""
    rows: list[tuple[float, float]] = [(math.nan, math.nan)] * len(samples)
    forms: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        forms.setdefault(sample.form, []).append(index)
    for indices in forms.values():
        function = samples[indices[0]].function
        grid = torch.linspace(-STEEPEST_RANGE, STEEPEST_RANGE, 801, dtype=torch.float64, device=samples[indices[0]].inputs.device)
        slope = slopes(function, torch.cat([grid, *(samples[i].inputs for i in indices)]))
        steepest, *parts = slope.split([len(grid), *(samples[i].inputs.numel() for i in indices)])
        least = SATURATED * steepest.max()
        table = torch.stack([torch.stack([p.square().mean().sqrt(), (p < least).double().mean()]) for p in parts]).tolist()
        for index, (rms, share) in zip(indices, table, strict=True):
            rows[index] = (rms, share)
    return rows


def slope_sample(inputs: Tensor) -> Tensor:
    """A flat float64 copy of at most SLOPES evenly spaced elements."""
    flat = inputs.reshape(-1)
    return flat[:: max(1, flat.numel() // SLOPES)].to(torch.float64, copy=True)


def settle(numbers: Sequence[Number]) -> list[float]:
    """All numbers as floats, with one read back for each device involved."""
    settled = [math.nan if isinstance(n, Tensor) else float(n) for n in numbers]
    waiting: dict[torch.device, list[int]] = {}
    for index, value in enumerate(numbers):
        if isinstance(value, Tensor):
            waiting.setdefault(value.device, []).append(index)
    for indices in waiting.values():
        values = torch.stack([torch.as_tensor(numbers[i]) for i in indices]).tolist()
        for index, value in zip(indices, values, strict=True):
            settled[index] = value
    return settled
