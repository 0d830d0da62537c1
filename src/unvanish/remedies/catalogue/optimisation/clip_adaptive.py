"""Adaptive clipping: each unit's gradient against its own weights. It changes no parameter."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.hooks.clip_adaptive import ClipAdaptive as Hook
from unvanish.remedies.optimizers.settings import Attach, attached, trained_by
from unvanish.remedies.structure.outer_layers import at_output

FACTOR = 0.01
"""Brock 2021, arXiv 2102.06171: for batches of 4096; smaller batches stand more."""

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@final
class ClipAdaptive(Remedy):
    """Scales down the gradient of every unit that is more than a hundredth as long as the unit's own weights.

    Does: just before each step has the optimizer scale the gradient of every unit to at most 0.01 times the length of its
        weights, which count as 0.001 at least. A unit is a row of a weight matrix or an output channel of a kernel; biases
        and other vectors are one unit each. The output layer is left alone, where it can be told, and so are sparse gradients.
    Helps: SGD with large batches or large rates on networks without normalisation: no layer can be changed out of all proportion to
        what it is.
    Harms: weights that start at zero, such as zeroed last layers of residual branches, move slowly at first. Adam and its kin
        bound their steps themselves, so that it gives them little. Torch copies no hooks: a deep copy of the optimizer does
        not clip.
    Cost: two norms per unit and one more pass over the gradients per step.
    References: Brock et al. 2021, arXiv 2102.06171, eq. 3.
    """

    name: ClassVar[str] = "clip-adaptive"
    family: ClassVar[str] = "optimisation"
    summary: ClassVar[str] = "each unit's gradient clipped to a hundredth of its weights"
    treats: ClassVar[tuple[str, ...]] = ("exploding-gradient", "learning-rate-too-high", "clipping-dominates")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One hook an optimizer. Raises NotApplicable where each has it, or where there is nothing but the output layer."""
        owners = trained_by(network, context.optimizers, remedy=self.name)
        layout = trace_graph(network, context.inputs)
        last = [layout.steps[at].module for at in at_output(layout)]
        spared = {id(p): p for module in last if module is not None for p in module.parameters()}
        transposed = [module.weight for module in network.modules() if isinstance(module, _TRANSPOSED)]
        operations: list[Operation] = []
        clipped = False
        for path, optimizer in owners.items():
            clipped |= bool(attached(optimizer, Hook))
            inner = any(id(p) not in spared for group in optimizer.param_groups for p in group["params"])
            if inner and not attached(optimizer, Hook):
                hook = Hook(FACTOR, spared.values(), transposed)
                described = f"each unit's gradient clipped to {FACTOR:g} of its weights"
                operations.append(Attach(path, optimizer, hook.before_step, None, described))
        if not operations:
            name = type(network).__name__
            raise NotApplicable(
                f"{self.name}: the gradients of {name} are clipped so already; undo that first"
                if clipped
                else f"{self.name}: {name} is nothing but an output layer, which is never clipped; use clip-norm"
            )
        return tuple(operations)
