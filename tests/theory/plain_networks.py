"""Random networks to hold predictions against: plain ones of any layers, one example each."""

from __future__ import annotations

import math

import numpy as np

from unvanish.theory.layers import Layer, Weights


def weight(draw: np.random.Generator, layer: Layer) -> np.ndarray:
    """A weight of the layer's law, fan_out by fan_in."""
    gaussian = draw.standard_normal((layer.fan_out, layer.fan_in))
    if layer.weights is Weights.GAUSSIAN:
        return gaussian * math.sqrt(layer.scale.sw2 / layer.fan_in)
    tall = gaussian if layer.fan_out >= layer.fan_in else gaussian.T
    frame, triangle = np.linalg.qr(tall)
    frame = frame * np.sign(np.diag(triangle))  # without the signs the frame is not uniform (Mezzadri 2007)
    frame = frame if layer.fan_out >= layer.fan_in else frame.T
    return frame * math.sqrt(layer.scale.sw2 * max(layer.fan_out / layer.fan_in, 1.0))


def simulated(layers: tuple[Layer, ...], *, networks: int) -> tuple[float, float]:
    """Mean and standard error of the decades lost by random networks of those layers, inputs of mean square one."""
    draw, found = np.random.default_rng(11), []
    for _ in range(networks):
        h, steps = draw.standard_normal(layers[0].fan_in), []
        for layer in layers:
            steps.append((weight(draw, layer), layer.phi.derivative(h)))
            bias = draw.standard_normal(layer.fan_out) * math.sqrt(layer.scale.sb2)
            h = steps[-1][0] @ layer.phi.function(h) + bias
        gradient = draw.standard_normal(layers[-1].fan_out)
        start = np.sqrt(np.mean(gradient**2))
        for matrix, slope in reversed(steps):
            gradient = slope * (matrix.T @ gradient)
        found.append(math.log10(np.sqrt(np.mean(gradient**2)) / start))
    return float(np.mean(found)), float(np.std(found) / math.sqrt(networks))
