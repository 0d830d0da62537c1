"""Statistics of one tensor, cheap enough for a training step: norms, moments, shares of zeros, slopes of activations.

No function alters its tensors, draws a random number or synchronises with an accelerator, except `read_back`: on the CPU a number
is a float at once; on an accelerator it is a 0-dim float64 tensor, and `read_back` reads all numbers of a step in one transfer.
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
MAX_EXAMPLES = 32
MAX_FEATURES = 256
MAX_SLOPES = 1024
MAX_ZERO_ELEMENTS = 2**17
# Below and above these norms the squares of float32 leave its range, and the norm is taken again in float64.
MIN_FLOAT32_NORM = 1e-15
MAX_FLOAT32_NORM = 1e15
# Step of the differences in float64, relative above 1: they err by some 1e-5 of the slope, and by 1e-11 where it is flat.
DIFFERENCE_STEP = 1e-5
SLOPE_GRID_RANGE = 8.0  # the slopes of all catalogued activations are steepest well within +-8
SATURATION_SHARE = 0.05  # of the steepest slope; for the sigmoid that is |z| > 4.4, an output within 0.013 of its bounds

Number = float | Tensor


def to_number(value: Tensor) -> Number:
    """A 0-dim tensor as a float where that costs no synchronisation, else as a float64 tensor on its device."""
    return value.item() if value.device.type == "cpu" else value.double()


def is_measurable(tensor: Tensor) -> bool:
    """Whether a tensor has values to measure: floating point, not empty, dense, with data in memory."""
    return tensor.is_floating_point() and tensor.numel() > 0 and tensor.layout is torch.strided and not tensor.is_meta


def euclidean_norm(tensor: Tensor) -> Number:
    """The Euclidean norm of a detached tensor of any shape, also where the squares of its elements underflow or overflow.

    Example:
        >>> euclidean_norm(torch.tensor([1e200, 0.0], dtype=torch.float64))
        1e+200
    """
    tensor = dense_values(tensor)
    if tensor.device.type != "cpu":
        return _wide_norm(tensor)
    quick = torch.linalg.vector_norm(tensor, dtype=torch.promote_types(tensor.dtype, torch.float32)).item()
    if MIN_FLOAT32_NORM < quick < MAX_FLOAT32_NORM:
        return quick
    return _wide_norm(tensor).item()


def _wide_norm(tensor: Tensor) -> Tensor:
    """The norm in float64; values of float64 are scaled by the largest, as their squares leave its range beyond 1e±154."""
    if tensor.dtype is not torch.float64 or not tensor.numel():
        return torch.linalg.vector_norm(tensor, dtype=torch.float64)
    largest = tensor.abs().amax()
    scale = torch.where((largest > 0) & largest.isfinite(), largest, torch.ones_like(largest))
    return torch.linalg.vector_norm(tensor / scale) * scale


def dense_values(tensor: Tensor) -> Tensor:
    """The values of a sparse tensor that are stored, any other tensor as it is; complex values as pairs of reals."""
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def log10_rms(norms: Sequence[float], sizes: Sequence[int]) -> float:
    """log10 of the RMS over several tensors, from the norm and the number of elements of each; -inf where all are zero.

    Summed in the log domain, so that neither 1e-300 nor 1e300 is lost. NaN where there is no tensor, or any norm is NaN.

    Example:
        >>> round(log10_rms([6e300, 8e300], [50, 50]), 9)  # two tensors of 50 elements each
        300.0
    """
    if not norms or any(math.isnan(n) for n in norms):
        return math.nan
    largest = max(norms)
    if largest == 0 or math.isinf(largest):
        return -math.inf if largest == 0 else math.inf
    squares = math.fsum((n / largest) ** 2 for n in norms)
    return math.log10(largest) + 0.5 * math.log10(squares / sum(sizes))


def subsample(output: Tensor) -> Tensor:
    """A float32 copy of at most MAX_EXAMPLES rows and about MAX_FEATURES columns, evenly spaced; shape (rows, columns)."""
    rows = output[:: max(1, -(-output.shape[0] // MAX_EXAMPLES))] if output.dim() > 1 else output[:, None]
    rows = rows.flatten(1)
    return rows[:, :: max(1, rows.shape[1] // MAX_FEATURES)].to(torch.float32, copy=True)


def describe(samples: Sequence[Tensor]) -> list[tuple[float, float, float, float, float]]:
    """Mean, standard deviation, share of zeros, mean cosine between different rows, and how far the rows lie from their mean over
    their RMS, for each sample of shape (rows, columns).

    Samples of one shape are stacked and take a dozen kernels together, in float64: the squares of an exploded or vanished
    activation leave the range of float32. The cosine is NaN under two non-zero rows, the last one under two rows.
    """
    return _map_batched(samples, _describe_batch)


def _describe_batch(batch: Tensor) -> Tensor:
    # batch: (samples, rows, columns) -> (samples, 5)
    mean = batch.mean((1, 2))
    deviation = (batch - mean[:, None, None]).square().mean((1, 2)).sqrt()
    zeros = (batch == 0).float().mean((1, 2))
    lengths = torch.linalg.vector_norm(batch, dim=2, keepdim=True)
    nonzero_rows = (lengths > 0).sum((1, 2))
    total = (batch / lengths.clamp_min(torch.finfo(batch.dtype).tiny)).sum(1).square().sum(1)
    cosine = (total - nonzero_rows) / (nonzero_rows * (nonzero_rows - 1))
    spread = torch.linalg.vector_norm(batch - batch.mean(1, keepdim=True), dim=(1, 2)) / torch.linalg.vector_norm(batch, dim=(1, 2))
    spread = spread if batch.shape[1] > 1 else torch.full_like(spread, math.nan)
    return torch.stack([mean, deviation, zeros, cosine, spread], 1)


def row_spreads(samples: Sequence[Tensor]) -> list[float]:
    """How far the rows of each sample differ: RMS of row minus mean row, over the sample's RMS. NaN where all is zero."""
    return [spread for (spread,) in _map_batched(samples, _row_spread_batch)]


def _row_spread_batch(batch: Tensor) -> Tensor:
    # batch: (samples, rows, columns) -> (samples, 1)
    deviation = torch.linalg.vector_norm(batch - batch.mean(1, keepdim=True), dim=(1, 2))
    return (deviation / torch.linalg.vector_norm(batch, dim=(1, 2)))[:, None]


def _map_batched(samples: Sequence[Tensor], function: Callable[[Tensor], Tensor]) -> list[Any]:
    """`function` on stacks of the samples that share shape and device; one row of its result for each sample, in their order."""
    groups: dict[tuple[torch.Size, torch.device], list[int]] = {}
    for index, sample in enumerate(samples):
        groups.setdefault((sample.shape, sample.device), []).append(index)
    rows: list[Any] = [None] * len(samples)
    for indices in groups.values():
        table = function(torch.stack([samples[i] for i in indices]).double()).tolist()
        for index, row in zip(indices, table, strict=True):
            rows[index] = tuple(row)
    return rows


def silent_fraction(output: Tensor) -> Number:
    """The share of units that are zero for every example and position; units are channels: dim 1 of images, else the last."""
    others = _all_but_channels(output)
    if not others:
        return to_number((output == 0).float().mean())
    return to_number(((output.amax(others) == 0) & (output.amin(others) == 0)).float().mean())


def zero_fraction(tensor: Tensor) -> Number:
    """The share of elements that are exactly zero; of a large tensor about MAX_ZERO_ELEMENTS, in evenly spaced rows."""
    rows = tensor[:: max(1, -(-tensor.numel() // MAX_ZERO_ELEMENTS))] if tensor.dim() else tensor
    return to_number(1.0 - torch.count_nonzero(rows) / max(1, rows.numel()))


@cache
def log10_smallest_positive(dtype: torch.dtype) -> float:
    """log10 of the smallest positive number of a floating type, subnormal ones included."""
    return math.log10(torch.finfo(dtype).smallest_normal) + math.log10(torch.finfo(dtype).eps)


def describe_input(inputs: Tensor) -> dict[str, Number]:
    """The size of a network's input, by quantity name; `inputs` has shape (examples, features) or (examples, ..., features).

    The size of a feature is its RMS over the examples (and positions, of images and sequences: channels are features there).
    """
    inputs = inputs.detach()
    sample = subsample(inputs).double()
    by_feature = _feature_squares(inputs, sample)
    size, spread = sample.square().mean().sqrt(), (sample - sample.mean()).square().mean().sqrt()
    tiny = torch.finfo(torch.float64).tiny
    return {
        "log10_input_rms": to_number(size.clamp_min(tiny).log10()),
        "log10_largest_feature": to_number(by_feature.max().clamp_min(tiny).log10() / 2),
        "log10_median_feature": to_number(by_feature.median().clamp_min(tiny).log10() / 2),
        "input_offset": to_number(sample.mean().abs() / spread),
    }


def _feature_squares(inputs: Tensor, sample: Tensor) -> Tensor:
    """Mean square of each feature: columns of a table, channels of images (dim 1), of sequences the last dimension."""
    if inputs.dim() <= 2:
        return sample.square().mean(0)
    examples = inputs[:: max(1, -(-inputs.shape[0] // MAX_EXAMPLES))].double()
    return examples.square().mean(_all_but_channels(inputs))


def _all_but_channels(tensor: Tensor) -> list[int]:
    """The dimensions other than that of channels, which is dim 1 of images (4 dimensions or more), else the last."""
    channel = 1 if tensor.dim() >= 4 else tensor.dim() - 1
    return [dim for dim in range(tensor.dim()) if dim != channel]


def count_nonfinite(output: Tensor) -> Number:
    """The number of elements that are NaN or infinite. On the CPU a finite sum says in one pass that there are none."""
    if output.device.type == "cpu" and math.isfinite(output.sum().item()):
        return 0.0
    return to_number(output.numel() - torch.isfinite(output).sum())


@dataclass(frozen=True, slots=True)
class SlopeSample:
    """Inputs of one call of an elementwise activation, flat and float64, and the function that evaluates it at other inputs.

    Samples of equal `form` (name and settings) may be evaluated together.
    """

    form: str
    inputs: Tensor
    function: Callable[[Tensor], Tensor]


def local_slopes(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """The absolute local derivative of an elementwise function at a flat float64 sample, of the same shape.

    The smaller one of the two one-sided differences: at a kink it is what torch's own backward uses (selu's and clamp's
    excepted), and beside a jump (hardshrink, threshold) the side without it. No autograd: inside a checkpointed region the
    tensors that it would save would break the user's own backward pass.

    Example:
        >>> local_slopes(torch.relu, torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64)).round(decimals=6).tolist()
        [0.0, 0.0, 1.0]
    """
    with torch.no_grad():
        step = DIFFERENCE_STEP * inputs.abs().clamp_min(1)
        above, below = inputs + step, inputs - step
        step_up, step_down = above - inputs, inputs - below  # before the calls, which may work in place
        value = function(inputs.clone())
        right, left = (function(above) - value) / step_up, (value - function(below)) / step_down
        return torch.minimum(right.abs(), left.abs())


def slope_statistics(samples: Sequence[SlopeSample]) -> list[tuple[float, float]]:
    """For each sample the RMS of the local slope, and the share of inputs where it is under SATURATION_SHARE of the steepest."""
    rows: list[tuple[float, float]] = [(math.nan, math.nan)] * len(samples)
    by_form: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        by_form.setdefault(sample.form, []).append(index)
    for indices in by_form.values():
        function = samples[indices[0]].function
        grid = torch.linspace(
            -SLOPE_GRID_RANGE, SLOPE_GRID_RANGE, 801, dtype=torch.float64, device=samples[indices[0]].inputs.device
        )
        slope = local_slopes(function, torch.cat([grid, *(samples[i].inputs for i in indices)]))
        steepest, *parts = slope.split([len(grid), *(samples[i].inputs.numel() for i in indices)])
        threshold = SATURATION_SHARE * steepest.max()
        table = torch.stack([torch.stack([p.square().mean().sqrt(), (p < threshold).double().mean()]) for p in parts]).tolist()
        for index, (rms, share) in zip(indices, table, strict=True):
            rows[index] = (rms, share)
    return rows


def sample_elements(inputs: Tensor) -> Tensor:
    """A flat float64 copy of about MAX_SLOPES evenly spaced elements."""
    flat = inputs.reshape(-1)
    return flat[:: max(1, flat.numel() // MAX_SLOPES)].to(torch.float64, copy=True)


def read_back(numbers: Sequence[Number]) -> list[float]:
    """All numbers as floats, in their order, with one transfer for each device."""
    values = [math.nan if isinstance(n, Tensor) else float(n) for n in numbers]
    by_device: dict[torch.device, list[int]] = {}
    for index, number in enumerate(numbers):
        if isinstance(number, Tensor):
            by_device.setdefault(number.device, []).append(index)
    for indices in by_device.values():
        transferred = torch.stack([torch.as_tensor(numbers[i]) for i in indices]).tolist()
        for index, value in zip(indices, transferred, strict=True):
            values[index] = value
    return values
