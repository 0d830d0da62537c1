"""Statistics of one parameter at one step: norms of weight, gradient and update, and cosines between them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unvanish.network.distributed_tensors import local_part
from unvanish.observe.statistics import tensor_statistics
from unvanish.observe.statistics.tensor_statistics import Number, log10_rms, read_back, row_spreads

# Of a larger parameter weight and update are measured on evenly spaced rows: 2**16 elements give the RMS to about 0.5 %.
# The gradient is always read whole: of an embedding's, most rows may be zero.
SNAPSHOT_ELEMENTS = 2**16
FINGERPRINT_ELEMENTS = 64


@dataclass(slots=True)
class ParameterUpdate:
    """One parameter at one step.

    The gradient has `size` elements; weight and update are measured on `measured_size` of them. `matrix_sample` is a sample of
    the weight's rows, None for vectors. `backward_gradient` is norm and number of elements of the gradient that the last backward
    before the update left. `stale_norms` are the norms of the gradient's first elements: held from the step before, and used.
    """

    size: int
    measured_size: int
    weight_norm: Number = math.nan
    gradient_norm: Number = math.nan
    update_norm: Number = math.nan
    matrix_sample: Tensor | None = None
    gradient_agreement: Number = math.nan
    gradient_along_weight: Number = math.nan
    backward_gradient: tuple[Number, int] | None = None
    stale_norms: tuple[Number, Number] = (math.nan, math.nan)


def parameter_numbers(updates: Mapping[int, ParameterUpdate]) -> dict[int, dict[str, float]]:
    """The numbers of each parameter by quantity name, read back from the device at once."""
    columns = (
        [u.weight_norm for u in updates.values()],
        [u.gradient_norm for u in updates.values()],
        [u.update_norm for u in updates.values()],
        [u.gradient_agreement for u in updates.values()],
        [u.gradient_along_weight for u in updates.values()],
        [u.stale_norms[0] for u in updates.values()],
        [u.stale_norms[1] for u in updates.values()],
    )
    values = iter(read_back([number for column in columns for number in column]))
    weights, gradients, changes, agreements, alongs, held, used = ({i: next(values) for i in updates} for _ in columns)
    result = {
        i: {
            "log10_weight_rms": log10_rms([weights[i]], [u.measured_size]),
            "log10_weight_gradient_rms": log10_rms([gradients[i]], [u.size]),
            "log10_update_rms": log10_rms([changes[i]], [u.measured_size]),
            "gradient_agreement": agreements[i],
            "gradient_along_weight": alongs[i],
            "log10_stale_share": _log10_ratio(held[i], used[i]),
        }
        for i, u in updates.items()
    }
    samples = {i: u.matrix_sample for i, u in updates.items() if u.matrix_sample is not None}
    for index, spread in zip(samples, row_spreads(list(samples.values())), strict=True):
        result[index]["unit_spread"] = spread
    return result


def group_numbers(
    learning_rates: Mapping[int, float], updates: Mapping[int, ParameterUpdate], group_of: Callable[[int], int | None]
) -> dict[int, dict[str, float]]:
    """The numbers of each optimizer group by quantity name: its learning rate, and the norm of the gradient that the optimizer used
    over that which backward had left. `group_of` gives the group of a parameter's index."""
    result: dict[int, dict[str, float]] = {group: {"learning_rate": rate} for group, rate in learning_rates.items()}
    after_backward = {
        i: u.backward_gradient for i, u in updates.items() if u.backward_gradient is not None and group_of(i) is not None
    }
    indices = list(after_backward)
    used = dict(zip(indices, read_back([updates[i].gradient_norm for i in indices]), strict=True))
    left = dict(zip(indices, read_back([after_backward[i][0] for i in indices]), strict=True))
    for group in {group for i in indices if (group := group_of(i)) is not None}:
        members = [i for i in indices if group_of(i) == group and not math.isnan(used[i] + left[i])]
        sizes = [after_backward[i][1] for i in members]
        log10_left, log10_used = log10_rms([left[i] for i in members], sizes), log10_rms([used[i] for i in members], sizes)
        kept = log10_used - log10_left if math.isfinite(log10_left) else math.nan
        result.setdefault(group, {})["log10_gradient_kept"] = kept
    return result


def _log10_ratio(part: float, total: float) -> float:
    """log10 of a ratio; -inf where only the part is zero, NaN where the total is zero or not finite."""
    if math.isnan(part) or not total > 0 or math.isinf(total):
        return math.nan
    return math.log10(part / total) if part > 0 else -math.inf


def gradient_weight_cosine(weight: Tensor, gradient: Tensor) -> Number:
    """Cosine between selected rows of a weight and those of its gradient: 1 for a penalty on the weight's size, about 0 for data.

    `weight` is already selected by `select_rows`. NaN where either is zero, the gradient is sparse, or they are complex.
    """
    if gradient.is_sparse or weight.is_complex():
        return math.nan
    w, g = scale_by_largest(weight), scale_by_largest(select_rows(gradient))
    size = torch.linalg.vector_norm(w) * torch.linalg.vector_norm(g)
    return tensor_statistics.to_number(torch.where(size > 0, torch.dot(w, g) / size, torch.full_like(size, math.nan)))


def scale_by_largest(tensor: Tensor) -> Tensor:
    """A tensor over its largest element, flat and float32: even a gradient of 1e-60 keeps its direction."""
    wide = tensor.reshape(-1).to(torch.promote_types(tensor.dtype, torch.float32))
    return (wide / wide.abs().amax().clamp_min(torch.finfo(wide.dtype).tiny)).float()


def gradient_norm(parameter: Tensor) -> Number:
    """The norm of the gradient that a parameter holds; NaN where it holds none, 0 where the gradient is zero."""
    return math.nan if parameter.grad is None else tensor_statistics.euclidean_norm(local_part(parameter.grad).detach())


def select_rows(weight: Tensor, max_elements: int = SNAPSHOT_ELEMENTS) -> Tensor:
    """A view of evenly spaced rows of a weight, with at most `max_elements` elements where its rows allow it."""
    if weight.dim() == 0 or weight.numel() <= max_elements:
        return weight
    return weight[:: -(-weight.numel() // max_elements)]


def sample_matrix(weight: Tensor) -> Tensor | None:
    """A sample of a weight matrix of shape (rows, columns), from which `row_spreads` is computed; None for vectors."""
    if weight.dim() < 2 or weight.shape[0] < 2 or not weight.is_floating_point():
        return None
    return tensor_statistics.subsample(weight)


def first_elements(tensor: Tensor) -> Tensor:
    """A flat view of the first FINGERPRINT_ELEMENTS elements, of those that this process holds."""
    return local_part(tensor).detach().reshape(-1)[:FINGERPRINT_ELEMENTS]


def take_fingerprint(parameters: Iterable[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Each parameter with a copy of its first elements, from which `has_changed` says whether it was updated."""
    return [(parameter, first_elements(parameter).clone()) for parameter in parameters]


def has_changed(fingerprint: Iterable[tuple[Tensor, Tensor]]) -> bool:
    """Whether any parameter differs from its fingerprint. Synchronises with the device."""
    return any(not torch.equal(first_elements(parameter), earlier) for parameter, earlier in fingerprint)
