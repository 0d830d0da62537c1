"""An optimizer that trains hidden matrices by Muon and all other parameters by AdamW, in the same parameter groups.

The step of Muon is torch.optim.Muon's where torch has it (from 2.9 on), else the same written here.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

TORCH_MUON: Any = getattr(torch.optim, "Muon", None)
"""torch.optim.Muon; None before torch 2.9."""

NEWTON_SCHULZ_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration that pulls all singular values towards one (Jordan 2024)."""

RATE_RATIO = 20.0
"""Muon's learning rate over AdamW's: 0.02 (Jordan 2024) beside 0.001."""

MIN_NORM = 1e-7
"""A matrix is divided by its Frobenius norm, and by no less than this."""


@final
class MuonWithAdamW(Optimizer):
    """Muon (Jordan 2024) for the parameters in `matrices`, AdamW (Loshchilov 2019, arXiv 1711.05101) for the others.

    Muon's update is a matrix whose singular values are near one, times sqrt(max(1, rows / columns)). A group may hold parameters
    of both: schedulers set one learning rate for both, and weight decay pulls at both alike.

    Arguments:
        params: parameters or parameter groups, as for every optimizer.
        lr: learning rate of AdamW.
        matrices: the parameters that Muon trains. Kernels of convolutions are flattened to (output channels, all else).
        betas, eps: AdamW's.
        weight_decay: each step multiplies every parameter by 1 - lr * weight_decay.
        momentum, nesterov, ns_steps: Muon's; the last is the number of Newton-Schulz iterations.
        rate_ratio: Muon's learning rate over `lr`.
        maximize: go up the gradient.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from unvanish.remedies.optimizers.muon import MuonWithAdamW
        >>> network = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
        >>> optimizer = MuonWithAdamW(network.parameters(), lr=1e-3, matrices=[network[2].weight])
        >>> network(torch.ones(3, 2)).sum().backward()
        >>> _ = optimizer.step()
        >>> list(optimizer.state[network[2].weight]), list(optimizer.state[network[0].weight])
        (['momentum_buffer'], ['step', 'exp_avg', 'exp_avg_sq'])
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
        """Takes a step with the present gradients, or those that `closure` computes, and returns its loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        matrices = set(map(id, self.matrices))
        step_muon = _step_own_muon if TORCH_MUON is None else _step_torch_muon
        for group in self.param_groups:
            trained = [(parameter, parameter.grad) for parameter in group["params"] if parameter.grad is not None]
            hidden = [(parameter, gradient) for parameter, gradient in trained if id(parameter) in matrices]
            for parameter, gradient in hidden:
                state = self.state[parameter]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
                step_muon(parameter, -gradient if group["maximize"] else gradient, state["momentum_buffer"], group)
            self._step_adamw([pair for pair in trained if id(pair[0]) not in matrices], group)
        return loss

    def _step_adamw(self, trained: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
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


def _step_torch_muon(parameter: Tensor, gradient: Tensor, momentum_buffer: Tensor, group: dict[str, Any]) -> None:
    """One step of torch.optim.Muon on the parameter as a matrix, in place."""
    matrix = nn.Parameter(parameter.detach().flatten(1))  # (rows, columns)
    matrix.grad = gradient.flatten(1)
    muon = TORCH_MUON(
        [matrix],
        lr=group["lr"] * group["rate_ratio"],
        weight_decay=group["weight_decay"] / group["rate_ratio"],  # which torch multiplies by Muon's rate
        momentum=group["momentum"],
        nesterov=group["nesterov"],
        ns_steps=group["ns_steps"],
    )
    average = momentum_buffer.flatten(1)
    muon.state[matrix]["momentum_buffer"] = average
    inspect.unwrap(TORCH_MUON.step)(muon)  # without the hooks around it, which would see a second optimizer in the training loop
    for tensor, as_matrix in ((parameter, matrix), (momentum_buffer, average)):
        if as_matrix.data_ptr() != tensor.data_ptr():  # a kernel in channels_last, whose matrix is a copy
            tensor.copy_(as_matrix.view_as(tensor))


def _step_own_muon(parameter: Tensor, gradient: Tensor, momentum_buffer: Tensor, group: dict[str, Any]) -> None:
    """The same step for torch before 2.9."""
    momentum_buffer.lerp_(gradient, 1 - group["momentum"])
    update = gradient.lerp(momentum_buffer, group["momentum"]) if group["nesterov"] else momentum_buffer
    direction = orthogonalise(update.flatten(1), steps=group["ns_steps"])  # (rows, columns)
    rows, columns = direction.shape
    rate = group["lr"] * group["rate_ratio"] * math.sqrt(max(1.0, rows / columns))
    parameter.mul_(1 - group["lr"] * group["weight_decay"])
    parameter.sub_((direction * rate).view_as(parameter))


def orthogonalise(matrix: Tensor, *, steps: int) -> Tensor:
    """A matrix with the singular vectors of the given one, and singular values near one (0.7 to 1.2 after five steps).

    Newton-Schulz iteration in bfloat16, which is precise enough for it (Jordan 2024). `matrix` is (rows, columns), of any floating
    dtype, which the result has too. Cost: 15 matrix products at five steps.
    """
    a, b, c = NEWTON_SCHULZ_COEFFICIENTS
    x = matrix.bfloat16()
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x
    x = x / x.norm().clamp(min=MIN_NORM)  # no singular value above one
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if is_tall else x).to(matrix.dtype)
