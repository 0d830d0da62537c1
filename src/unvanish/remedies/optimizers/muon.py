"""An optimizer that trains hidden matrices by Muon and all else by AdamW, under one learning rate and in the user's groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration that pulls all singular values towards one (Jordan 2024)."""

RATE_RATIO = 20.0
"""Muon's learning rate over AdamW's: 0.02 (Jordan 2024) beside 0.001."""

SMALLEST_GRADIENT = 1e-7
"""A matrix that is shorter than this counts as so long when it is normalised."""


@final
class MuonWithAdamW(Optimizer):
    """Muon (Jordan 2024) for the parameters in `matrices`, AdamW (Loshchilov 2019, arXiv 1711.05101) for the others.

    Muon's update is a matrix whose singular values are near one, times sqrt(max(1, rows / columns)). Its learning rate is
    `rate_ratio` times that of the group, which schedulers set for both, and the pull of weight decay is the same for both: so a
    group may hold both. A convolution's kernel is flattened to (output channels, all else). `momentum`, `nesterov` and `ns_steps`
    are Muon's, the other settings AdamW's.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        *,
        matrices: Iterable[nn.Parameter] = (),
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        rate_ratio: float = RATE_RATIO,
        maximize: bool = False,
    ) -> None:
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        muon = {"nesterov": nesterov, "ns_steps": ns_steps, "rate_ratio": rate_ratio, "maximize": maximize}
        super().__init__(params, {**settings, **muon})
        self.matrices = list(matrices)

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles keep. Which parameters are matrices belongs to the object, not to its `state_dict`."""
        return {**super().__getstate__(), "matrices": self.matrices}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Takes a step with the gradients that are there, or that `closure` makes."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        matrices = set(map(id, self.matrices))
        for group in self.param_groups:
            trained = [(parameter, parameter.grad) for parameter in group["params"] if parameter.grad is not None]
            for parameter, gradient in trained:
                if id(parameter) in matrices:
                    self._turn(parameter, -gradient if group["maximize"] else gradient, group)
            self._adapt([pair for pair in trained if id(pair[0]) not in matrices], group)
        return loss

    def _turn(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        """One step of Muon, as in torch.optim.Muon, but for weight decay."""
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        average = state["momentum_buffer"]
        average.lerp_(gradient, 1 - group["momentum"])
        update = gradient.lerp(average, group["momentum"]) if group["nesterov"] else average
        turned = orthogonalised(update.flatten(1), steps=group["ns_steps"])
        rows, columns = turned.shape
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.sub_((turned * (group["lr"] * group["rate_ratio"] * math.sqrt(max(1.0, rows / columns)))).view_as(parameter))

    def _adapt(self, trained: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        """One step of AdamW for some parameters of a group and their gradients."""
        states = [self.state[parameter] for parameter, _ in trained]
        for state, (parameter, _) in zip(states, trained, strict=True):
            if not state:
                state["step"] = torch.tensor(0.0)
                state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        beta1, beta2 = group["betas"]
        adamw(
            [parameter for parameter, _ in trained],
            [gradient for _, gradient in trained],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=group["maximize"],
        )


def orthogonalised(matrix: Tensor, *, steps: int) -> Tensor:
    """A matrix with the singular vectors of the given one, and singular values near one (0.7 to 1.2 after five steps).

    Newton-Schulz iteration in bfloat16, which is precise enough for it (Jordan 2024). Cost: 15 matrix products at five steps.
    """
    a, b, c = COEFFICIENTS
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=SMALLEST_GRADIENT)  # no singular value above one
    for _ in range(steps):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)
