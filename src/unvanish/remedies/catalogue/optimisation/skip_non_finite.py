"""The remedy skip-non-finite: optimizer steps with a NaN or infinite gradient are skipped."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.hooks.skip_non_finite import SkipNonFiniteSteps as Hook
from unvanish.remedies.optimizers.group_settings import AddStepHooks, find_hooks, find_optimizers


@final
class SkipNonFinite(Remedy):
    """Passes over every step whose gradient holds a NaN or an infinity, so that one bad example does not reach the weights.

    Does: just before each step has the optimizer look whether all gradients are finite. Where one is not, the parameters and the
        optimizer's moments stay as they were, and the gradients become zero.
    Helps: an operation that seldom meets a value at the edge of its domain: the square root of a distance that is zero, a division
        by the deviation of a constant row. Without it the first such batch turns every weight into NaN for good.
    Harms: it hides what should be repaired, and the batches that are passed over teach nothing. Where every batch is bad, nothing
        is learned at all. A loss that grows without bounds is not calmed by it. Torch copies no hooks: a deep copy of the
        optimizer takes every step.
    Cost: one pass over the gradients per step, and one number read back from the accelerator.
    References: Micikevicius et al. 2018, arXiv 1710.03740, sec. 3.2, where gradients that overflowed are passed over.
    """

    name: ClassVar[str] = "skip-non-finite"
    family: ClassVar[str] = "optimisation"
    summary: ClassVar[str] = "no step where a gradient is NaN or infinite"
    treats: ClassVar[tuple[str, ...]] = ("numerical-domain", "non-finite")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """Two hooks an optimizer. Raises NotApplicable where each has them."""
        operations: list[Operation] = []
        for path, optimizer in find_optimizers(network, context.optimizers, remedy=self.name).items():
            if not find_hooks(optimizer, Hook):
                hook = Hook()
                operations.append(
                    AddStepHooks(path, optimizer, hook.before_step, hook.after_step, "no step where a gradient is not finite")
                )
        if not operations:
            raise NotApplicable(f"{self.name}: steps of {type(network).__name__} are passed over so already; undo that first")
        return tuple(operations)
