"""The remedy loss-scaling: gradients scaled up inside float16 by a factor that adapts (Micikevicius 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import nn
from torch.optim import Optimizer

from unvanish.errors import NotApplicable
from unvanish.network.module_hooks import forward_hooks
from unvanish.record.network_changes import Edit
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.hooks.loss_scaling import INITIAL_SCALE, SkipOverflowedSteps
from unvanish.remedies.hooks.loss_scaling import LossScaling as Hook
from unvanish.remedies.optimizers.group_settings import AddStepHooks, find_optimizers


@final
class LossScaling(Remedy):
    """Multiplies the gradient by a large factor for as long as it runs through the network, so that float16 keeps it.

    Does: runs the backward pass through the network on 65,536 times the gradient of its outputs, and divides what arrives at
        parameters and inputs: all who read a gradient, clipping for one, see its true size. When a pass overflows, its
        gradients count as zero, the optimizer passes over the next step, and the factor halves; after 2000 passes without,
        it doubles. Outputs that autocast made float16 come out as float32, so that their gradient gets there. Whether there is
        anything in float16 is looked up in each pass: without it, in float32 or bfloat16, and without gradients, nothing is done.
    Helps: training in float16, by autocast or with parameters in float16, without torch.amp.GradScaler: gradients below 6e-8
        become zero on their way and the weights behind them never move.
    Harms: a gradient that arrives too small for the parameter's own type is still lost: keep parameters in float32. What the
        network's modules compute outside its own forward is not scaled. Hooks inside see the larger gradient; reentrant
        checkpointing is refused by torch. bfloat16, where the hardware has it, needs none of this, nor does a training whose
        torch.amp.GradScaler is at work. Torch copies no hooks of optimizers: with a deep copy, a pass that overflows is a step
        with no gradient.
    Cost: two passes over the gradients of parameters per step, a walk over the graph, and one number read back from the
        accelerator. The graph of a pass is kept until its outputs are let go.
    References: Micikevicius et al. 2018, arXiv 1710.03740, sec. 3.2.
    """

    name: ClassVar[str] = "loss-scaling"
    family: ClassVar[str] = "optimisation"
    summary: ClassVar[str] = "larger gradients inside float16, by a factor that adapts"
    treats: ClassVar[tuple[str, ...]] = ("gradient-underflow",)

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """Hooks for the network and its optimizers. Raises NotApplicable where they are there, or nothing can be float16."""
        optimizers = find_optimizers(network, context.optimizers, remedy=self.name)
        if any(isinstance(getattr(hook, "__self__", None), Hook) for hook in forward_hooks(network)):
            raise NotApplicable(f"{self.name}: the gradients of {type(network).__name__} are scaled so already; undo that first")
        _require_float16_possible(network, remedy=self.name)
        scaling = Hook()
        overflow_hooks = [(path, optimizer, SkipOverflowedSteps(scaling)) for path, optimizer in optimizers.items()]
        return (
            _AddScaling(type(network).__name__, scaling),
            *(
                AddStepHooks(path, optimizer, drop.before_step, drop.after_step, "no step after an overflow")
                for path, optimizer, drop in overflow_hooks
            ),
        )


@dataclass(frozen=True, slots=True)
class _AddScaling(Operation):
    """Registers the hooks that a network calls before and after each forward pass."""

    network: str
    hook: Hook

    @property
    def edit(self) -> Edit:
        """The network without and with the scaling."""
        return Edit("insert", "", self.network, f"{self.network}, gradients inside times {INITIAL_SCALE:g}")

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Registers the hooks."""
        del optimizers
        network.register_forward_pre_hook(self.hook.before_forward, with_kwargs=True)
        network.register_forward_hook(self.hook.after_forward, with_kwargs=True)


def _require_float16_possible(network: nn.Module, *, remedy: str) -> None:
    """Raises NotApplicable where neither the parameters are float16 nor autocast could compute with them in float16."""
    dtypes = {parameter.dtype for parameter in network.parameters()}
    if dtypes.isdisjoint((torch.float16, torch.float32)):
        names = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        raise NotApplicable(
            f"{remedy}: nothing of {type(network).__name__} will be in float16: its parameters are {names}, which autocast leaves "
            "as they are and which need no scaling; look for another reason why gradients are lost"
        )
