"""The remedy clip-norm: gradients clipped by their total norm (Pascanu 2013)."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.hooks.clip_norm import ClipNorm as Hook
from unvanish.remedies.optimizers.group_settings import AddStepHooks, find_hooks, find_optimizers

MAX_NORM = 1.0
"""The usual limit; Pascanu 2013, sec. 3.2, found training not very sensitive to it."""


@final
class ClipNorm(Remedy):
    """Scales the gradients down, all by one factor, where together they are longer than 1.

    Does: has the optimizer scale all its gradients to a total Euclidean length of at most 1 just before each step, whatever made
        them: accumulation, a closure, or a gradient scaler, whose factor is taken off first. Several optimizers clip each
        their own.
    Helps: single steps that throw a network far off: recurrent networks whose gradient explodes now and then, a rate that is right
        but for a few batches.
    Harms: where it clips at every step, it is a smaller learning rate in disguise. Adam and its kin divide a constant factor out
        again: with them it only weakens outliers. It cures no gradient that is too large throughout, nor one that is not
        finite. Torch copies no hooks: a deep copy of the optimizer does not clip.
    Cost: one more pass over the gradients per step; no waiting for the accelerator.
    References: Pascanu et al. 2013, arXiv 1211.5063, algorithm 1.
    """

    name: ClassVar[str] = "clip-norm"
    family: ClassVar[str] = "optimisation"
    summary: ClassVar[str] = "gradients clipped to a total length of 1"
    treats: ClassVar[tuple[str, ...]] = (
        "exploding-gradient",
        "exploding-through-time",
        "learning-rate-too-high",
        "clipping-dominates",
    )

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One hook an optimizer. Raises NotApplicable where each has it."""
        operations: list[Operation] = []
        for path, optimizer in find_optimizers(network, context.optimizers, remedy=self.name).items():
            if not find_hooks(optimizer, Hook):
                hook = Hook(MAX_NORM)
                operations.append(
                    AddStepHooks(path, optimizer, hook.before_step, None, f"gradients clipped to length {MAX_NORM:g}")
                )
        if not operations:
            raise NotApplicable(f"{self.name}: the gradients of {type(network).__name__} are clipped so already; undo that first")
        return tuple(operations)
