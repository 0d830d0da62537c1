"""Tailored activations: gamma (phi(alpha x + beta) + delta) for a known activation phi, as a function and as a module."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

from unvanish.errors import UsageError

TAILORABLE = ("celu", "elu", "gelu", "leaky_relu", "mish", "relu", "sigmoid", "silu", "softplus", "softsign", "tanh")
"""The activations phi that can be tailored, by their names in torch.nn.functional."""


def tailored(x: Tensor, *, phi: str, alpha: float, beta: float, gamma: float, delta: float, **settings: float) -> Tensor:
    """The tensor gamma (phi(alpha x + beta) + delta), of the shape and dtype of x.

    In a deep network alpha is small and gamma large, so that digits cancel: half precision is computed in float32. torch.fx and
    torch's function modes see one operation. Cost: that of phi, and up to four more passes over x.

    Arguments:
        x: any shape.
        phi: name of the activation in torch.nn.functional, one of TAILORABLE.
        alpha: scale of the input.
        beta: shift of the input.
        gamma: scale of the output.
        delta: shift of phi.
        settings: keyword arguments of phi, such as negative_slope.

    Example:
        >>> tailored(torch.tensor([-1.0, 1.5]), phi="relu", alpha=1.0, beta=0.0, gamma=2.0, delta=0.5)
        tensor([1., 4.])
    """
    if has_torch_function_unary(x):
        return handle_torch_function(tailored, (x,), x, phi=phi, alpha=alpha, beta=beta, gamma=gamma, delta=delta, **settings)
    function = cast(Callable[..., Tensor], getattr(F, phi))
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    inner = _add(_multiply(wide, alpha), beta)
    return _multiply(_add(function(inner, **settings), delta), gamma).to(x.dtype)


@final
class TailoredActivation(nn.Module):
    """gamma (phi(alpha x + beta) + delta), elementwise, with fixed numbers.

    Arguments:
        phi: name of the activation in torch.nn.functional, one of TAILORABLE; UsageError is raised for any other.
        settings: keyword arguments of phi, such as negative_slope.
        alpha: scale of the input.
        beta: shift of the input.
        gamma: scale of the output.
        delta: shift of phi.

    Shapes: any, to the same shape and dtype.

    Example:
        >>> TailoredActivation("leaky_relu", {"negative_slope": 0.5}, gamma=2.0)(torch.tensor([-1.0, 1.0]))
        tensor([-1.,  2.])
    """

    def __init__(
        self,
        phi: str,
        settings: Mapping[str, float],
        *,
        alpha: float = 1.0,
        beta: float = 0.0,
        gamma: float = 1.0,
        delta: float = 0.0,
    ) -> None:
        super().__init__()
        if phi not in TAILORABLE:
            raise UsageError(f"{phi!r} cannot be tailored; the activations that can are {', '.join(TAILORABLE)}")
        self.phi = phi
        self.settings = dict(settings)
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.delta = delta

    def forward(self, x: Tensor) -> Tensor:
        """The activated input, of its shape and dtype."""
        return tailored(x, phi=self.phi, alpha=self.alpha, beta=self.beta, gamma=self.gamma, delta=self.delta, **self.settings)

    def extra_repr(self) -> str:
        """Phi and the numbers to four digits, for the module's repr."""
        numbers: dict[str, Any] = {
            **self.settings,
            "alpha": self.alpha,
            "beta": self.beta,
            "gamma": self.gamma,
            "delta": self.delta,
        }
        return ", ".join([self.phi, *(f"{name}={value:.4g}" for name, value in numbers.items())])


# A scale of one and a shift of zero cost no pass over the tensor.


def _multiply(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1.0 else x * factor


def _add(x: Tensor, offset: float) -> Tensor:
    return x if offset == 0.0 else x + offset
