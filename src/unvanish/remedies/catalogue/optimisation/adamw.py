"""AdamW in the place of another optimizer. It changes no parameter and no gradient."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn
from torch.optim import AdamW as TorchAdamW

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.optimizers.kind import adamw_entries, exchanged, is_relative, require_exchangeable, require_wide
from unvanish.remedies.optimizers.settings import proportional, trained_by

RATE = 1e-3
"""Where the present rate is of another kind: Adam's own default (Kingma 2015, arXiv 1412.6980, algorithm 1), and torch's."""


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
        """One exchange an optimizer. Raises NotApplicable where all are AdamW already, or cannot be exchanged."""
        others = {
            path: o
            for path, o in trained_by(network, context.optimizers, remedy=self.name).items()
            if not isinstance(o, TorchAdamW)
        }
        if not others:
            raise NotApplicable(f"{self.name}: {type(network).__name__} is trained by AdamW already; nothing is left to exchange")
        operations: list[Operation] = []
        for path, optimizer in others.items():
            require_exchangeable(optimizer, network, remedy=self.name)
            require_wide(optimizer, remedy=self.name)
            rates = None if is_relative(optimizer) else proportional(optimizer, RATE)
            operations += exchanged(path, optimizer, TorchAdamW, adamw_entries(optimizer), rates=rates)
        return tuple(operations)
