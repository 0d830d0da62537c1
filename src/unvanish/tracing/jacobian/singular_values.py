"""Computes the singular values of a network's Jacobian: all where it is small, else estimates of their extremes and their mean.

Golub-Kahan-Lanczos bidiagonalisation in float64 with full reorthogonalisation (Golub 1965, doi 10.1137/0702016) gives the extremes,
and as stochastic Lanczos quadrature (Ubaru 2017, doi 10.1137/16M1104974) the means. The network is left as it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.errors import TraceError, UsageError
from unvanish.record.jacobian_spectrum import JacobianSpectrum
from unvanish.tracing.jacobian.linear_map import Jacobian, Product, jacobian, require_finite

# Measured on 20 tanh layers, one core: at 512 the exact spectrum takes 2.1 s and the estimate 4.3 s, at 1,024 10.7 s and 11.4 s.
MAX_EXACT_SIDE = 512
MAX_EXACT_ELEMENTS = 2**24  # 128 MiB in float64
PROBES = 8
STEPS = 64
# A Ritz value counts as a singular value where its residual, which bounds its error, is below this share of it.
RESIDUAL_TOLERANCE = 1e-6
# The mean counts as converged where the last quarter of the steps moved it by less than this many decades.
MEAN_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class _RitzValues:
    """One probe's approximate singular values, descending, their weights in the quadrature and error bounds, each (steps,)."""

    values: Tensor
    weights: Tensor
    residuals: Tensor


def jacobian_spectrum(
    model: nn.Module,
    inputs: Any,
    *,
    layer: str = "",
    example: int | None = 0,
    probes: int = PROBES,
    steps: int = STEPS,
    seed: int = 0,
) -> JacobianSpectrum:
    """The singular values of d(output of the module `layer`) / d(input) at one example.

    Exact up to MAX_EXACT_SIDE rows or columns, at one pass each; beyond, an estimate from `probes` * `steps` * 2 passes, in which
    small singular values converge badly: see `smallest_converged`. Values below 1e-308 are zero.

    Arguments:
        model: the network, which is copied and never run itself.
        inputs: a batch, a tuple of positional or a dict of keyword arguments; the first tensor in it is varied, the others held.
            Its first dimension counts examples (an input of one dimension is one example).
        layer: the path of a module; "" is the network's own output.
        example: which example; None takes the whole batch as one point. Where examples influence each other, as with BatchNorm in
            training mode, the other ones are held.
        probes: number of random starting vectors of an estimate, at least two.
        steps: Lanczos steps from each.
        seed: of the probes.

    Raises:
        UsageError: for arguments that cannot be used.
        TraceError: where there is no derivative, or it is not finite.

    Example:
        >>> model = nn.Linear(3, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[10.0, 0.0, 0.0], [0.0, 0.1, 0.0]]))
        >>> spectrum = jacobian_spectrum(model, torch.randn(1, 3))
        >>> spectrum.exact, round(spectrum.log10_largest, 6), round(spectrum.log10_smallest, 6)
        (True, 1.0, -1.0)
    """
    if probes < 2 or steps < 1:
        raise UsageError(f"probes={probes}, steps={steps}: give at least two probes, for a standard error, of at least one step")
    with jacobian(model, inputs, layer=layer, example=example) as matrix:
        if min(matrix.rows, matrix.columns) <= MAX_EXACT_SIDE and matrix.rows * matrix.columns <= MAX_EXACT_ELEMENTS:
            return _exact_spectrum(matrix, layer)
        return _estimate_spectrum(matrix, layer, probes=probes, steps=steps, seed=seed)


def _exact_spectrum(matrix: Jacobian, layer: str) -> JacobianSpectrum:
    product, count = matrix.transposed_product, matrix.rows
    if matrix.product is not None and matrix.columns < matrix.rows:
        product, count = matrix.product, matrix.columns
    dense = torch.stack(
        [require_finite(product(unit), layer) for unit in torch.eye(count, dtype=torch.float64)]
    )  # (count, other side)
    values = torch.linalg.svdvals(dense)  # (smaller side,)
    floor = _relative_rounding_error(matrix) * values[0].item()
    logs = _log10_above(values, floor)
    return JacobianSpectrum(
        layer=layer,
        rows=matrix.rows,
        columns=matrix.columns,
        exact=True,
        dtype=_dtype_name(matrix),
        log10_largest=logs[0],
        log10_smallest=logs[-1],
        mean_log10=_mean(logs),
        log10_floor=_log10_or_minus_infinity(floor),
        density=tuple((log10, 1.0 / len(logs)) for log10 in reversed(logs)),
    )


def _estimate_spectrum(matrix: Jacobian, layer: str, *, probes: int, steps: int, seed: int) -> JacobianSpectrum:
    if matrix.product is None:
        raise TraceError(
            f"a Jacobian of {matrix.rows} by {matrix.columns} can only be estimated, and an operation on the way has neither a "
            f"second nor a forward derivative for that; choose a layer or an input of at most {MAX_EXACT_SIDE} elements"
        )
    # The smaller side is where the probes are: A is the Jacobian or its transpose.
    multiply, multiply_transposed = matrix.product, matrix.transposed_product
    if matrix.columns > matrix.rows:
        multiply, multiply_transposed = matrix.transposed_product, matrix.product
    side = min(matrix.rows, matrix.columns)
    generator = torch.Generator().manual_seed(seed)
    after_all_steps: list[_RitzValues] = []
    after_three_quarters: list[_RitzValues] = []
    for _ in range(probes):
        start = torch.randint(0, 2, (side,), generator=generator).double() * 2.0 - 1.0  # (side,) of signs
        diagonal, upper = _bidiagonalise(multiply, multiply_transposed, start, min(steps, side), layer)
        after_all_steps.append(_ritz_values(diagonal, upper))
        early = max(1, len(diagonal) * 3 // 4) if upper[-1] else len(diagonal)  # 0: nothing is left to find from there
        after_three_quarters.append(_ritz_values(diagonal[:early], upper[:early]))
    return _combine_probes(matrix, layer, after_all_steps, after_three_quarters)


def _combine_probes(
    matrix: Jacobian, layer: str, probes: Sequence[_RitzValues], early_probes: Sequence[_RitzValues]
) -> JacobianSpectrum:
    """The estimate from all probes; `early_probes` are theirs after three quarters of the steps."""
    highest = max(probes, key=lambda probe: probe.values[0].item())
    lowest = min(probes, key=lambda probe: probe.values[-1].item())
    largest, smallest = highest.values[0].item(), lowest.values[-1].item()
    floor = _relative_rounding_error(matrix) * largest
    means = torch.tensor([_mean_log10(probe, floor) for probe in probes], dtype=torch.float64)
    change = abs(means.mean().item() - sum(_mean_log10(probe, floor) for probe in early_probes) / len(early_probes))
    standard_error = means.std().item() / math.sqrt(len(probes))
    density = [
        (log10, weight / len(probes))
        for probe in probes
        for log10, weight in zip(_log10_above(probe.values, floor), probe.weights.tolist(), strict=True)
    ]
    return JacobianSpectrum(
        layer=layer,
        rows=matrix.rows,
        columns=matrix.columns,
        exact=False,
        dtype=_dtype_name(matrix),
        log10_largest=_log10_or_minus_infinity(largest),
        log10_smallest=_log10_above(lowest.values[-1:], floor)[0],
        mean_log10=means.mean().item(),
        log10_floor=_log10_or_minus_infinity(floor),
        density=tuple(sorted(density)),
        mean_standard_error=math.hypot(standard_error, change),
        largest_converged=highest.residuals[0].item() <= RESIDUAL_TOLERANCE * largest,
        smallest_converged=lowest.residuals[-1].item() <= RESIDUAL_TOLERANCE * smallest,
        mean_converged=change <= MEAN_TOLERANCE,
    )


def _bidiagonalise(
    multiply: Product, multiply_transposed: Product, start: Tensor, steps: int, layer: str
) -> tuple[list[float], list[float]]:
    """Diagonal and upper diagonal of B, where A V = U B and V starts at `start`; the last upper entry leads to a next step.

    Ends early, with that entry 0, where the vectors so far span all that A maps `start` to.
    """
    v = start / start.norm()
    left, right = torch.zeros(0, 0), v[None]  # (steps so far, other side), (steps so far, side)
    diagonal: list[float] = []
    upper: list[float] = []
    for _ in range(steps):
        image = require_finite(multiply(v), layer)
        u = _orthogonalise(image, left)
        largest = max([*diagonal, *upper, image.norm().item()])
        if (alpha := u.norm().item()) <= torch.finfo(torch.float64).eps * len(v) * largest:
            return [*diagonal, 0.0], [*upper, 0.0]
        left = torch.cat([left.view(-1, len(u)), (u / alpha)[None]])
        v = _orthogonalise(require_finite(multiply_transposed(left[-1]), layer), right)
        beta = v.norm().item()
        diagonal.append(alpha)
        if beta <= torch.finfo(torch.float64).eps * len(v) * largest:
            return diagonal, [*upper, 0.0]
        upper.append(beta)
        v = v / beta
        right = torch.cat([right, v[None]])
    return diagonal, upper


def _orthogonalise(vector: Tensor, basis: Tensor) -> Tensor:
    """The part of `vector` at right angles to the rows of `basis`; twice is enough (Giraud 2005)."""
    if not len(basis):
        return vector
    for _ in range(2):
        vector = vector - basis.T @ (basis @ vector)
    return vector


def _ritz_values(diagonal: Sequence[float], upper: Sequence[float]) -> _RitzValues:
    b = torch.diag(torch.tensor(diagonal, dtype=torch.float64))  # (steps, steps)
    b += torch.diag(torch.tensor(upper[: len(diagonal) - 1], dtype=torch.float64), 1)
    left, values, right = torch.linalg.svd(b)
    return _RitzValues(values, right[:, 0].square(), upper[-1] * left[-1].abs())


def _mean_log10(probe: _RitzValues, floor: float) -> float:
    """One probe's estimate of the mean of log10 over the singular values; -inf where one is zero."""
    return math.fsum(
        log10 * weight for log10, weight in zip(_log10_above(probe.values, floor), probe.weights.tolist(), strict=True)
    )


def _relative_rounding_error(matrix: Jacobian) -> float:
    """Rounding error of the singular values relative to the largest (numpy's matrix_rank, after Golub and Van Loan)."""
    return max(matrix.rows, matrix.columns) * torch.finfo(matrix.dtype).eps


def _dtype_name(matrix: Jacobian) -> str:
    return str(matrix.dtype).removeprefix("torch.")


def _mean(logs: Sequence[float]) -> float:
    return math.fsum(logs) / len(logs)


def _log10_above(values: Tensor, floor: float) -> list[float]:
    """log10 of the values; -inf for those up to the floor, which count as zero."""
    return [math.log10(value) if value > floor else -math.inf for value in values.tolist()]


def _log10_or_minus_infinity(value: float) -> float:
    return math.log10(value) if value > 0.0 else -math.inf
