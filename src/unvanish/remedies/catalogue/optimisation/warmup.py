"""The remedy warmup: a learning rate that rises linearly over the first steps."""

from __future__ import annotations

from typing import Any, ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.hooks.scaled_learning_rate import WarmUp as Hook
from unvanish.remedies.optimizers.group_settings import AddStepHooks, find_hooks, find_optimizers

DEFAULT_LENGTH = 100
"""Warm-up steps for an optimizer without second moments. Goyal 2017, arXiv 1706.02677, warms up over five epochs, which an
optimizer cannot count; the steep part at the start of training is over in about as many steps at a rate that does not diverge."""


def warmup_length(group: dict[str, Any]) -> int:
    """The warm-up steps of a group: 2 / (1 - beta2) where it averages squared gradients (Ma 2021, arXiv 1910.04209), else 100."""
    betas, alpha = group.get("betas"), group.get("alpha")
    decay = float(betas[1]) if betas is not None else float(alpha) if alpha is not None and "lambd" not in group else None
    return DEFAULT_LENGTH if decay is None or decay >= 1.0 else max(1, round(2.0 / (1.0 - decay)))


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
        for path, optimizer in find_optimizers(network, context.optimizers, remedy=self.name).items():
            if find_hooks(optimizer, Hook):
                continue
            lengths = {position: warmup_length(group) for position, group in enumerate(optimizer.param_groups)}
            hook = Hook(lengths)
            lengths_text = " | ".join(dict.fromkeys(str(length) for length in lengths.values()))
            operations.append(
                AddStepHooks(path, optimizer, hook.before_step, hook.after_step, f"rate warmed up over {lengths_text} steps")
            )
        if not operations:
            raise NotApplicable(f"{self.name}: {type(network).__name__} warms up already; undo that first")
        return tuple(operations)
