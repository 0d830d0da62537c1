"""Tailored activations: a known activation, scaled and shifted inside and out. What the numbers should be is not decided here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import handle_torch_function, has_torch_function_unary

from unvanish.errors import UsageError

PHI = ("celu", "elu", "gelu", "leaky_relu", "mish", "relu", "sigmoid", "silu", "softplus", "softsign", "tanh")
"""The activations that can be tailored, by their names in torch.nn.functional."""


def tailored(x: Tensor, *, phi: str, alpha: float, beta: float, gamma: float, delta: float, **settings: float) -> Tensor:
    """The tensor gamma (phi(alpha x + beta) + delta), of the shape and dtype of x. `settings` go to phi, such as negative_slope.

    In a deep network alpha is small and gamma large, so that digits cancel: half precision is computed in float32. To torch.fx
    and torch's function modes this is one operation. Cost: that of phi, and up to four passes more.
    """
    if has_torch_function_unary(x):
        return handle_torch_function(tailored, (x,), x, phi=phi, alpha=alpha, beta=beta, gamma=gamma, delta=delta, **settings)
    function = cast(Callable[..., Tensor], getattr(F, phi))
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    inner = _shifted(_scaled(wide, alpha), beta)
    return _scaled(_shifted(function(inner, **settings), delta), gamma).to(x.dtype)


@final
class TailoredActivation(nn.Module):
    """gamma (phi(alpha x + beta) + delta), elementwise on any shape, with fixed numbers.

    `phi` is one of PHI, and `settings` are keyword arguments for it, such as negative_slope. Raises UsageError for another phi.
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
        if phi not in PHI:
            raise UsageError(f"{phi!r} cannot be tailored; the activations that can are {', '.join(PHI)}")
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


# Without a pass where there is nothing to do.


def _scaled(x: Tensor, factor: float) -> Tensor:
    return x if factor == 1.0 else x * factor


def _shifted(x: Tensor, distance: float) -> Tensor:
    return x if distance == 0.0 else x + distance
