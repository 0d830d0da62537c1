"""Numbers about one tensor, cheap enough for a training step. It alters nothing, draws no random number, and never waits.

On the CPU a number is a float at once. On an accelerator it is a 0-dim float64 tensor that stays there: `settle` reads all
of a step's numbers back in one transfer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Means, deviations and cosines are taken over a regular subsample of at most 32 examples by 1,024 features: their standard
# error is then under 1 % of the deviation, at a cost that does not grow with the layer. Norms and counts use every element.
EXAMPLES = 32
FEATURES = 1024
SLOPES = 2048
# Below and above these norms the squares of float32 leave its range, and the norm is taken again in float64.
SMALLEST_NORM = 1e-15
LARGEST_NORM = 1e15
DIFFERENCE = 1e-5  # step of the central difference in float64: its error, about 1e-10, is far below any slope of interest
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
    quick = torch.linalg.vector_norm(tensor).item()
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


@dataclass(frozen=True, slots=True)
class Output:
    """Numbers about one output of a site; the fields are the quantities of the same names."""

    activation_mean: Number
    activation_std: Number
    zero_fraction: Number
    silent_fraction: Number
    nonfinite_count: Number
    example_cosine: Number


def describe(output: Tensor, *, units: bool) -> Output:
    """Numbers about a detached floating-point output of shape (examples, ...). `units` asks for the share of silent units.

    Cost: about 15 kernels, of which three read the whole tensor.
    """
    sample = subsample(output)
    mean = sample.mean()
    spread = torch.linalg.vector_norm(sample - mean) / math.sqrt(sample.numel())
    zeros = 1 - torch.count_nonzero(sample) / sample.numel()
    return Output(
        activation_mean=number(mean),
        activation_std=number(spread),
        zero_fraction=number(zeros),
        silent_fraction=number(silent_share(output)) if units else math.nan,
        nonfinite_count=nonfinite(output),
        example_cosine=number(mean_cosine(sample)) if len(sample) > 1 else math.nan,
    )


def subsample(output: Tensor) -> Tensor:
    """A float32 copy of at most EXAMPLES rows and FEATURES columns, evenly spaced; shape (rows, columns)."""
    rows = output[:: max(1, -(-len(output) // EXAMPLES))] if output.dim() > 1 else output[:, None]
    rows = rows.reshape(len(rows), -1)
    return rows[:, :: max(1, rows.shape[1] // FEATURES)].float()


def silent_share(output: Tensor) -> Tensor:
    """The share of units that are zero for every example and position; units are channels: dim 1 of images, else the last."""
    channel = 1 if output.dim() >= 4 else output.dim() - 1
    others = [d for d in range(output.dim()) if d != channel]
    if not others:
        return (output == 0).float().mean()
    return ((output.amax(others) == 0) & (output.amin(others) == 0)).float().mean()


def nonfinite(output: Tensor) -> Number:
    """How many elements are NaN or infinite. On the CPU a finite sum settles it in one pass."""
    if output.device.type == "cpu" and math.isfinite(output.sum().item()):
        return 0.0
    return number(output.numel() - torch.isfinite(output).sum())


def mean_cosine(sample: Tensor) -> Tensor:
    """The mean cosine over all pairs of different rows; NaN where every row is zero. Shape (rows, columns) -> scalar."""
    lengths = torch.linalg.vector_norm(sample, dim=1, keepdim=True)
    present = (lengths > 0).sum()
    total = (sample / lengths.clamp_min(torch.finfo(sample.dtype).tiny)).sum(0).square().sum()
    return (total - present) / (present * (present - 1))


def slopes(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """The local derivative of an elementwise function at a flat float64 sample, by central differences; same shape.

    No autograd: inside a checkpointed region the tensors that it would save would break the user's own backward pass.
    """
    with torch.no_grad():
        return (function(inputs + DIFFERENCE) - function(inputs - DIFFERENCE)) / (2 * DIFFERENCE)


def slope_numbers(function: Callable[[Tensor], Tensor], inputs: Tensor, steepest: float) -> tuple[Number, Number]:
    """The RMS of the local derivative, and the share of inputs where it is under SATURATED of `steepest`."""
    slope = slopes(function, inputs).abs()
    return number(slope.square().mean().sqrt()), number((slope < SATURATED * steepest).double().mean())


def slope_sample(inputs: Tensor) -> Tensor:
    """A flat float64 copy of at most SLOPES evenly spaced elements."""
    flat = inputs.reshape(-1)
    return flat[:: max(1, flat.numel() // SLOPES)].double()


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
