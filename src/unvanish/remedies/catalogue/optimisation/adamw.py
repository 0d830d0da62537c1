"""The remedy adamw: AdamW in place of another optimizer."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn
from torch.optim import AdamW as TorchAdamW

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.optimizers.group_settings import find_optimizers, scale_rates
from unvanish.remedies.optimizers.optimizer_class import (
    adamw_entries,
    change_class,
    has_rate_sized_steps,
    require_no_float16,
    require_replaceable,
)

RATE = 1e-3
"""The learning rate where the present one is of another kind of optimizer: the default of Adam (Kingma 2015, arXiv 1412.6980,
algorithm 1) and of torch."""


@final
class AdamW(Remedy):
    """Trains with AdamW: every weight moves at its own pace, and weight decay pulls at all alike.

    Does: makes the optimizer a torch.optim.AdamW in place: the training loop, schedulers and a gradient scaler that hold it go
        on with it. From Adam, RAdam, NAdam, Adamax and RMSprop it keeps learning rate and betas. From others the largest rate
        becomes 0.001, and the proportions between groups stay; with a scheduler that is there already, each step takes the
        scheduler's rate times a factor. Weight decay is 0.01, and 0 for groups that had none beside others that had. What the
        old optimizer gathered is dropped.
    Helps: layers whose gradients differ by decades, as in deep networks without normalisation: one rate of SGD is too large for
        some and too small for others. In place of Adam with weight_decay, whose decay is weaker where gradients are large.
    Harms: two numbers are kept for every weight. Where SGD with a tuned schedule works, the result may generalise less well.
        A gradient that is only noise moves weights as far as one that is not.
    Cost: twice the memory of the parameters, and a few elementwise operations on them per step.
    References: Loshchilov and Hutter 2019, arXiv 1711.05101; Kingma and Ba 2015, arXiv 1412.6980.
    """

    name: ClassVar[str] = "adamw"
    family: ClassVar[str] = "optimisation"
    summary: ClassVar[str] = "AdamW in the optimizer's place"
    treats: ClassVar[tuple[str, ...]] = (
        "learning-rate-too-low",
        "loss-not-decreasing",
        "vanishing-gradient",
        "weight-decay-dominates",
    )

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One change of class an optimizer. Raises NotApplicable where all are AdamW already, or one cannot be changed."""
        replaced = {
            path: optimizer
            for path, optimizer in find_optimizers(network, context.optimizers, remedy=self.name).items()
            if not isinstance(optimizer, TorchAdamW)
        }
        if not replaced:
            raise NotApplicable(f"{self.name}: {type(network).__name__} is trained by AdamW already; nothing is left to exchange")
        operations: list[Operation] = []
        for path, optimizer in replaced.items():
            require_replaceable(optimizer, network, remedy=self.name)
            require_no_float16(optimizer, remedy=self.name)
            rates = None if has_rate_sized_steps(optimizer) else scale_rates(optimizer, RATE)
            operations += change_class(path, optimizer, TorchAdamW, adamw_entries(optimizer), rates=rates)
        return tuple(operations)
