"""The remedy sgd-momentum: momentum 0.9 for SGD, or SGD with momentum in place of another optimizer."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.optimizers.group_settings import find_optimizers, intended_rates, scale_rates, set_entries
from unvanish.remedies.optimizers.optimizer_class import change_class, require_replaceable

MOMENTUM = 0.9
"""Krizhevsky 2012, sec. 5."""

RATE = 0.01
"""The learning rate where the present one is of another kind of optimizer (Krizhevsky 2012, sec. 5)."""


@final
class SgdMomentum(Remedy):
    """Trains by gradient descent with momentum 0.9, which averages the gradient over some ten steps.

    Does: SGD without momentum gets momentum 0.9, without Nesterov, at its learning rate; groups that have some keep theirs.
        Since steps add up, a lasting gradient then moves weights ten times as far: that is most of the gain, and the rate is
        therefore not divided. Any other optimizer becomes SGD with momentum in place, for the training loop and schedulers
        that hold it too, at a largest rate of 0.01; its weight decay stays as a term of the loss, and AdamW's keeps its pull.
    Helps: SGD that creeps along a valley: on a quadratic loss momentum 0.9 stands rates almost twice as large as plain SGD
        (2 (1 + 0.9) over the curvature, not 2), and along flat directions it is ten times as fast. Noise of single batches is
        averaged out.
    Harms: where the rate was as large as noise and curvature allow, ten times the effective rate is too much: divide it by up to
        ten. In place of Adam it needs gradients of like size in all layers, and a rate of its own.
    Cost: one number per weight.
    References: Polyak 1964; Sutskever et al. 2013, "On the importance of initialization and momentum"; Goh 2017,
        "Why momentum really works"; Krizhevsky et al. 2012.
    """

    name: ClassVar[str] = "sgd-momentum"
    family: ClassVar[str] = "optimisation"
    summary: ClassVar[str] = "momentum 0.9 for SGD, or SGD with momentum in another optimizer's place"
    treats: ClassVar[tuple[str, ...]] = ("learning-rate-too-low", "loss-not-decreasing", "gradient-noise")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One operation an optimizer without momentum. Raises NotApplicable where all have some, or one cannot be changed."""
        operations: list[Operation] = []
        for path, optimizer in find_optimizers(network, context.optimizers, remedy=self.name).items():
            if not isinstance(optimizer, SGD):
                require_replaceable(optimizer, network, remedy=self.name)
                operations += change_class(path, optimizer, SGD, _entries(optimizer), rates=scale_rates(optimizer, RATE))
            elif not all(group["momentum"] for group in optimizer.param_groups):
                entries = [{} if group["momentum"] else {"momentum": MOMENTUM} for group in optimizer.param_groups]
                operations.append(set_entries(path, optimizer, entries))
        if not operations:
            raise NotApplicable(f"{self.name}: SGD has momentum already; nothing is left to set")
        return tuple(operations)


def _entries(optimizer: Optimizer) -> list[dict[str, object]]:
    """SGD's settings for every group of another optimizer, without learning rate."""
    new_rates, present_rates = scale_rates(optimizer, RATE), intended_rates(optimizer)
    entries: list[dict[str, object]] = []
    for group, new, old in zip(optimizer.param_groups, new_rates, present_rates, strict=True):
        decay = float(group.get("weight_decay", 0.0))
        if isinstance(optimizer, AdamW):  # a step shrinks weights by rate times decay; with momentum, by ten times that
            decay = float(f"{decay * old * (1 - MOMENTUM) / new:.6g}") if new else 0.0
        entries.append({"momentum": MOMENTUM, "dampening": 0.0, "weight_decay": decay, "nesterov": False})
    return entries
