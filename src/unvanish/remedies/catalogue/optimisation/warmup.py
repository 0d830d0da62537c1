"""A learning rate that rises over the first steps. It changes no parameter and no gradient."""

from __future__ import annotations

from typing import Any, ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.hooks.scaled_learning_rate import WarmUp as Hook
from unvanish.remedies.optimizers.settings import Attach, attached, trained_by

PLAIN = 100
"""Steps for an optimizer without second moments. Goyal 2017, arXiv 1706.02677, warms up over five epochs, which a step cannot
count; the network's first, steepest stretch is over in about as many steps at a rate that it stands."""


def length_for(group: dict[str, Any]) -> int:
    """The steps of the ramp for a group: 2 / (1 - beta2) where it averages squares (Ma 2021, arXiv 1910.04209), else 100."""
    betas, alpha = group.get("betas"), group.get("alpha")
    memory = float(betas[1]) if betas is not None else float(alpha) if alpha is not None and "lambd" not in group else None
    return PLAIN if memory is None or memory >= 1.0 else max(1, round(2.0 / (1.0 - memory)))


@final
class WarmUp(Remedy):
    """Lets the learning rate rise from nearly nothing to its full value over the first steps.

    Does: takes step t of the first N at t / N of the learning rate: N is 2 / (1 - beta2) for Adam and its kin, which is 2000 at
        beta2 0.999, 2 / (1 - alpha) for RMSprop, and 100 for others. The factor is there only for the length of a step, so
        that schedulers, and whoever reads the rate, go on with their own. The count goes through the optimizer's state_dict: a
        training that is resumed warms up once.
    Helps: steps that are too large for a network at its start but not later: Adam's first steps, whose second moments are
        estimated from a few gradients; transformers with normalisation behind the addition; large rates for large batches.
    Harms: it delays: a training of few hundred steps may end before Adam's rate is full. A rate that is too high throughout
        stays so. Torch copies no hooks: a deep copy of the optimizer does not warm up.
    Cost: none.
    References: Ma and Yarats 2021, arXiv 1910.04209; Goyal et al. 2017, arXiv 1706.02677.
    """

    name: ClassVar[str] = "warmup"
    family: ClassVar[str] = "optimisation"
    summary: ClassVar[str] = "a learning rate that rises over the first steps"
    treats: ClassVar[tuple[str, ...]] = ("learning-rate-too-high", "attention-collapse", "exploding-gradient")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One pair of hooks an optimizer. Raises NotApplicable where each has it."""
        operations: list[Operation] = []
        for path, optimizer in trained_by(network, context.optimizers, remedy=self.name).items():
            if attached(optimizer, Hook):
                continue
            lengths = {at: length_for(group) for at, group in enumerate(optimizer.param_groups)}
            hook = Hook(lengths)
            told = " | ".join(dict.fromkeys(str(length) for length in lengths.values()))
            operations.append(Attach(path, optimizer, hook.before_step, hook.after_step, f"rate warmed up over {told} steps"))
        if not operations:
            raise NotApplicable(f"{self.name}: {type(network).__name__} warms up already; undo that first")
        return tuple(operations)
