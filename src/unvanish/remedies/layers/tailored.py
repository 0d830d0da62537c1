"""Tailored activations: gamma (phi(alpha x + beta) + delta) for a known activation phi, as a function and as a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

TAILORABLE = ("celu", "elu", "gelu", "leaky_relu", "mish", "relu", "sigmoid", "silu", "softplus", "softsign", "tanh")
"""The activations phi that can be tailored, by their names in torch.nn.functional."""


def tailored(
    x: Tensor, phi: str, *, alpha: float = 1.0, beta: float = 0.0, gamma: float = 1.0, delta: float = 0.0, **settings: float
) -> Tensor:
    """The tensor gamma (phi(alpha x + beta) + delta): phi tailored to a depth (Zhang et al. 2022, arXiv 2203.08120).

    In a deep network alpha is small and gamma large, so that digits cancel: half precision is computed in float32. torch.fx and
    torch's function modes see one operation. Cost: that of phi, and up to four more passes over x.

    Arguments:
        x: any shape; the result has its shape and dtype.
        phi: name of the activation in torch.nn.functional, one of TAILORABLE.
        alpha: scale of the input.
        beta: shift of the input.
        gamma: scale of the output.
        delta: shift of phi.
        settings: keyword arguments of phi, such as negative_slope.

    Example:
        >>> tailored(torch.tensor([-1.0, 1.5]), "relu", gamma=2.0, delta=0.5)
        tensor([1., 4.])
    """
    if has_torch_function_unary(x):
        return handle_torch_function(tailored, (x,), x, phi, alpha=alpha, beta=beta, gamma=gamma, delta=delta, **settings)
    y = x.to(torch.promote_types(x.dtype, torch.float32))  # the shifts would cancel the digits of half precision
    y = y if alpha == 1.0 else y * alpha
    y = y if beta == 0.0 else y + beta
    y = cast(Callable[..., Tensor], getattr(F, phi))(y, **settings)
    y = y if delta == 0.0 else y + delta
    y = y if gamma == 1.0 else y * gamma
    return y.to(x.dtype)


@final
class TailoredActivation(nn.Module):
    """gamma (phi(alpha x + beta) + delta), elementwise: phi tailored to a depth (Zhang et al. 2022, arXiv 2203.08120).

    Arguments:
        phi: name of the activation in torch.nn.functional, one of TAILORABLE.
        alpha, beta, gamma, delta: as in `tailored`.
        settings: keyword arguments of phi, such as negative_slope.

    Shapes: any, to the same shape and dtype.

    Example:
        >>> TailoredActivation("leaky_relu", negative_slope=0.5, gamma=2.0)(torch.tensor([-1.0, 1.0]))
        tensor([-1.,  2.])
    """

    def __init__(
        self, phi: str, *, alpha: float = 1.0, beta: float = 0.0, gamma: float = 1.0, delta: float = 0.0, **settings: float
    ) -> None:
        super().__init__()
        self.phi = phi
        self.alpha, self.beta, self.gamma, self.delta = alpha, beta, gamma, delta
        self.settings = settings

    def forward(self, x: Tensor) -> Tensor:
        """The activated input, of its shape and dtype."""
        return tailored(x, self.phi, alpha=self.alpha, beta=self.beta, gamma=self.gamma, delta=self.delta, **self.settings)

    def extra_repr(self) -> str:
        """The arguments that are not the default, for the module's repr."""
        defaults = {"alpha": 1.0, "beta": 0.0, "gamma": 1.0, "delta": 0.0}
        numbers = {name: getattr(self, name) for name, default in defaults.items() if getattr(self, name) != default}
        return ", ".join([repr(self.phi), *(f"{name}={value!r}" for name, value in (numbers | self.settings).items())])
