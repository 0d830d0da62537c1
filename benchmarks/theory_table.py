"""`python -m benchmarks.theory_table`: predictions of theory for random networks, beside simulated networks."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import numpy as np

from benchmarks import depth_scales
from unvanish.theory.criticality import Scale
from unvanish.theory.gradient_forecast import forecast
from unvanish.theory.nonlinearity import Nonlinearity, nonlinearity, nonlinearity_names
from unvanish.theory.plain_network import Scheme, plain_network, scheme_scale

WIDTH = 64
NETWORKS = 60  # simulated for each row
DEPTHS = (10, 20, 30, 50)
LARGE_MISS = 0.2  # decades; single networks scatter by more


@dataclass(frozen=True, slots=True)
class DecadesRow:
    """Decades between the first and the last pre-activation of one kind of network; None where theory calls it unstable."""

    name: str
    scheme: Scheme
    depth: int
    predicted: float | None
    measured: float
    predicted_scatter: float | None
    scatter: float


def measure_decades(name: str, scheme: Scheme, *, networks: int) -> list[DecadesRow]:
    """One row for each depth: the forecast, and the mean and standard deviation over that many simulated networks."""
    phi = nonlinearity(name)
    scale = scheme_scale(scheme, fan_in=WIDTH, fan_out=WIDTH)
    measured = _simulate_decades(phi, scale, networks=networks)
    rows: list[DecadesRow] = []
    for depth in DEPTHS:
        hidden = plain_network(phi, scheme, widths=[WIDTH] * (depth + 1))[1:]
        prediction = forecast(hidden, q=scale.sw2 + scale.sb2)
        values = measured[depth]
        rows.append(
            DecadesRow(name, scheme, depth, prediction.decades, float(values.mean()), prediction.scatter, float(values.std()))
        )
    return rows


def _simulate_decades(phi: Nonlinearity, scale: Scale, *, networks: int) -> dict[int, np.ndarray]:
    """Decades of each network, by depth; a network is the first part of the next deeper one."""
    generator = np.random.default_rng(17)
    h = generator.standard_normal((networks, WIDTH))
    weights: list[np.ndarray] = []
    slopes: list[np.ndarray] = []
    for index in range(max(DEPTHS)):
        weights.append(generator.standard_normal((networks, WIDTH, WIDTH)) * math.sqrt(scale.sw2 / WIDTH))
        slopes.append(phi.derivative(h))
        bias = generator.standard_normal((networks, WIDTH)) * math.sqrt(scale.sb2)
        h = np.einsum("nij,nj->ni", weights[-1], phi.function(h) if index else h) + bias
    decades: dict[int, np.ndarray] = {}
    for depth in DEPTHS:
        gradient = generator.standard_normal((networks, WIDTH))
        start = np.mean(gradient**2, axis=1)
        for weight, slope in zip(weights[depth - 1 : 0 : -1], slopes[depth - 1 : 0 : -1], strict=True):
            gradient = slope * np.einsum("nij,ni->nj", weight, gradient)
        decades[depth] = 0.5 * np.log10(np.mean(gradient**2, axis=1) / start)
    return decades


def format_table(rows: list[DecadesRow]) -> str:
    """The rows as text: for each depth the prediction, the measured mean and (in brackets) what one network scatters by."""
    head = f"{'activation':12s} {'scheme':8s}" + "".join(f"{f'{depth} layers':>25s}" for depth in DEPTHS)
    lines = [head]
    for start in range(0, len(rows), len(DEPTHS)):
        group = rows[start : start + len(DEPTHS)]
        cells = [
            f"{'unstable' if r.predicted is None else f'{r.predicted:.2f}':>9s}{r.measured:8.2f} ({r.scatter:4.2f})" for r in group
        ]
        lines.append(f"{group[0].name:12s} {group[0].scheme:8s} " + " ".join(cells))
    return "\n".join(lines)


def format_summary(rows: list[DecadesRow]) -> str:
    """The mean error by scheme, the cells that miss by more than LARGE_MISS, and those without a number."""
    known = [(row, abs(row.predicted - row.measured)) for row in rows if row.predicted is not None]
    lines = []
    for scheme in Scheme:
        errors = [error for row, error in known if row.scheme is scheme]
        lines.append(f"{scheme:8s} mean error {np.mean(errors):.3f}, largest {max(errors):.3f} decades over {len(errors)} cells")
    ratios = [row.scatter / row.predicted_scatter for row in rows if row.predicted_scatter]
    lines.append(
        f"scatter, measured over predicted: median {np.median(ratios):.2f}, least {min(ratios):.2f}, greatest {max(ratios):.2f}"
    )
    missed = [f"{row.name} {row.scheme} {row.depth}" for row, error in known if error > LARGE_MISS]
    unstable = [f"{row.name} {row.scheme} {row.depth}" for row in rows if row.predicted is None]
    lines.append(f"off by more than {LARGE_MISS} decades: {', '.join(missed) or 'none'}")
    lines.append(f"no number, since deviations of the length more than double: {', '.join(unstable) or 'none'}")
    return "\n".join(lines)


def report(networks: int = NETWORKS) -> str:
    """Both tables, simulated."""
    rows = [row for name in nonlinearity_names() for scheme in Scheme for row in measure_decades(name, scheme, networks=networks)]
    points = [(name, sw2) for name, grid in depth_scales.GRID for sw2 in grid]
    measured = [depth_scales.measure_depth_scales(name, sw2, seed=seed) for seed, (name, sw2) in enumerate(points)]
    return "\n\n".join(
        (
            f"Decades of gradient lost from the last layer to the first, width {WIDTH}: predicted, measured (its scatter)",
            format_table(rows),
            format_summary(rows),
            f"Depth scales in layers, width {depth_scales.WIDTH}, sb2 = {depth_scales.BIAS_VARIANCE}: predicted, measured",
            depth_scales.format_table(measured),
        )
    )


def main() -> None:
    """Runs the simulations and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=NETWORKS, help="simulated networks for each row of the first table")
    print(report(parser.parse_args().networks))


if __name__ == "__main__":
    main()
