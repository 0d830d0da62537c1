"""The activations and their derivatives as plain functions of float64 arrays, in forms that neither overflow nor cancel.

Where a derivative jumps, it has the value from below, as in PyTorch.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from unvanish.theory.gaussian import FloatArray

TWO_OVER_ROOT_PI = 2.0 / np.sqrt(np.pi)


def linear(x: FloatArray) -> FloatArray:
    """The argument itself."""
    return x


def sigmoid_derivative(x: FloatArray) -> FloatArray:
    """s(x) s(-x), with s the logistic function."""
    return special.expit(x) * special.expit(-x)


def sigmoid_second(x: FloatArray) -> FloatArray:
    """s'(x) (s(-x) - s(x))."""
    return -sigmoid_derivative(x) * np.tanh(x / 2.0)


def tanh_derivative(x: FloatArray) -> FloatArray:
    """1 / cosh^2 x, as four times the logistic slope at 2x."""
    return 4.0 * sigmoid_derivative(2.0 * x)


def tanh_second(x: FloatArray) -> FloatArray:
    """-2 tanh(x) / cosh^2 x."""
    return -2.0 * np.tanh(x) * tanh_derivative(x)


def hard_tanh(x: FloatArray) -> FloatArray:
    """x, cut at -1 and 1."""
    return np.clip(x, -1.0, 1.0)


def hard_tanh_derivative(x: FloatArray) -> FloatArray:
    """1 between -1 and 1, else 0."""
    return (np.abs(x) < 1.0).astype(np.float64)


def hard_sigmoid(x: FloatArray) -> FloatArray:
    """Hard sigmoid: x / 6 + 1 / 2, cut at 0 and 1."""
    return np.clip(x / 6.0 + 0.5, 0.0, 1.0)


def hard_sigmoid_derivative(x: FloatArray) -> FloatArray:
    """1 / 6 between -3 and 3, else 0."""
    return (np.abs(x) < 3.0) / 6.0


def softsign(x: FloatArray) -> FloatArray:
    """Softsign: x / (1 + |x|)."""
    return x / (1.0 + np.abs(x))


def softsign_derivative(x: FloatArray) -> FloatArray:
    """1 / (1 + |x|)^2."""
    return 1.0 / (1.0 + np.abs(x)) ** 2


def softsign_second(x: FloatArray) -> FloatArray:
    """-2 sign(x) / (1 + |x|)^3."""
    return -2.0 * np.sign(x) / (1.0 + np.abs(x)) ** 3


def relu(x: FloatArray) -> FloatArray:
    """max(x, 0)."""
    return np.maximum(x, 0.0)


def relu_derivative(x: FloatArray) -> FloatArray:
    """1 above zero, else 0."""
    return (x > 0.0).astype(np.float64)


def relu6(x: FloatArray) -> FloatArray:
    """max(x, 0), cut at 6."""
    return np.clip(x, 0.0, 6.0)


def relu6_derivative(x: FloatArray) -> FloatArray:
    """1 between 0 and 6, else 0."""
    return ((x > 0.0) & (x < 6.0)).astype(np.float64)


def leaky_relu(x: FloatArray, *, slope: float) -> FloatArray:
    """Leaky ReLU: x above zero, else slope x."""
    return np.where(x > 0.0, x, slope * x)


def leaky_relu_derivative(x: FloatArray, *, slope: float) -> FloatArray:
    """1 above zero, else the slope."""
    return np.where(x > 0.0, 1.0, slope)


def elu(x: FloatArray, *, alpha: float, scale: float = 1.0) -> FloatArray:
    """ELU: scale x above zero, else scale alpha (exp(x) - 1)."""
    return scale * np.where(x > 0.0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def elu_derivative(x: FloatArray, *, alpha: float, scale: float = 1.0) -> FloatArray:
    """Slope of ELU: scale above zero, else scale alpha exp(x)."""
    return scale * np.where(x > 0.0, 1.0, alpha * np.exp(np.minimum(x, 0.0)))


def elu_second(x: FloatArray, *, alpha: float) -> FloatArray:
    """0 above zero, else alpha exp(x); the whole of phi'' for alpha = 1 only, where the slope does not jump."""
    return np.where(x > 0.0, 0.0, alpha * np.exp(np.minimum(x, 0.0)))


def normal_density(x: FloatArray) -> FloatArray:
    """exp(-x^2 / 2) / sqrt(2 pi)."""
    return np.exp(-(x**2) / 2.0) / np.sqrt(2.0 * np.pi)


def gelu(x: FloatArray) -> FloatArray:
    """GELU: x N(x), with N the normal distribution function."""
    return x * special.ndtr(x)


def gelu_derivative(x: FloatArray) -> FloatArray:
    """N(x) + x n(x), with n the normal density."""
    return special.ndtr(x) + x * normal_density(x)


def gelu_second(x: FloatArray) -> FloatArray:
    """n(x) (2 - x^2)."""
    return normal_density(x) * (2.0 - x**2)


def silu(x: FloatArray) -> FloatArray:
    """SiLU: x s(x)."""
    return x * special.expit(x)


def silu_derivative(x: FloatArray) -> FloatArray:
    """s(x) + x s'(x)."""
    return special.expit(x) + x * sigmoid_derivative(x)


def silu_second(x: FloatArray) -> FloatArray:
    """2 s'(x) + x s''(x)."""
    return 2.0 * sigmoid_derivative(x) + x * sigmoid_second(x)


def hard_swish(x: FloatArray) -> FloatArray:
    """Hard swish: x times the hard sigmoid of x."""
    return x * hard_sigmoid(x)


def hard_swish_derivative(x: FloatArray) -> FloatArray:
    """Slope of the hard swish: x / 3 + 1 / 2 between -3 and 3; 0 below, 1 above."""
    return np.where(np.abs(x) < 3.0, x / 3.0 + 0.5, (x > 0.0).astype(np.float64))


def softplus(x: FloatArray) -> FloatArray:
    """ln(1 + exp x)."""
    return np.logaddexp(0.0, x)


def mish(x: FloatArray) -> FloatArray:
    """Mish: x tanh(softplus x)."""
    return x * np.tanh(softplus(x))


def mish_derivative(x: FloatArray) -> FloatArray:
    """Slope of Mish: t + x t', with t = tanh(softplus x) and t' = s(x) / cosh^2(softplus x)."""
    return np.tanh(softplus(x)) + x * special.expit(x) * tanh_derivative(softplus(x))


def mish_second(x: FloatArray) -> FloatArray:
    """2 t' + x t'', with t as in the first derivative."""
    inner, slope = softplus(x), special.expit(x)
    second = tanh_second(inner) * slope**2 + tanh_derivative(inner) * sigmoid_derivative(x)  # t''
    return 2.0 * slope * tanh_derivative(inner) + x * second


def erf_derivative(x: FloatArray) -> FloatArray:
    """2 exp(-x^2) / sqrt(pi)."""
    return TWO_OVER_ROOT_PI * np.exp(-(x**2))


def erf_second(x: FloatArray) -> FloatArray:
    """-4 x exp(-x^2) / sqrt(pi)."""
    return -2.0 * TWO_OVER_ROOT_PI * x * np.exp(-(x**2))
