"""Simulates the gradient of random plain networks, to compare predictions with."""

from __future__ import annotations

import math

import numpy as np

from unvanish.theory.plain_network import Layer, Weights


def draw_weight(generator: np.random.Generator, layer: Layer) -> np.ndarray:
    """A weight of the layer's law, fan_out by fan_in."""
    gaussian = generator.standard_normal((layer.fan_out, layer.fan_in))
    if layer.weights is Weights.GAUSSIAN:
        return gaussian * math.sqrt(layer.scale.sw2 / layer.fan_in)
    matrix = gaussian if layer.fan_out >= layer.fan_in else gaussian.T
    orthogonal, upper = np.linalg.qr(matrix)
    orthogonal = orthogonal * np.sign(np.diag(upper))  # without the signs the frame is not uniform (Mezzadri 2007)
    orthogonal = orthogonal if layer.fan_out >= layer.fan_in else orthogonal.T
    return orthogonal * math.sqrt(layer.scale.sw2 * max(layer.fan_out / layer.fan_in, 1.0))


def simulate_decades(layers: tuple[Layer, ...], *, networks: int) -> tuple[float, float]:
    """Mean and standard error of the decades lost by random networks of those layers, inputs of mean square one."""
    generator, decades = np.random.default_rng(11), []
    for _ in range(networks):
        h, steps = generator.standard_normal(layers[0].fan_in), []
        for layer in layers:
            steps.append((draw_weight(generator, layer), layer.phi.derivative(h)))
            bias = generator.standard_normal(layer.fan_out) * math.sqrt(layer.scale.sb2)
            h = steps[-1][0] @ layer.phi.function(h) + bias
        gradient = generator.standard_normal(layers[-1].fan_out)
        start = np.sqrt(np.mean(gradient**2))
        for matrix, slope in reversed(steps):
            gradient = slope * (matrix.T @ gradient)
        decades.append(math.log10(np.sqrt(np.mean(gradient**2)) / start))
    return float(np.mean(decades)), float(np.std(decades) / math.sqrt(networks))
