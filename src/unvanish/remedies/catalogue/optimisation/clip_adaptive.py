"""The remedy clip-adaptive: each unit's gradient clipped in proportion to the norm of its weights (Brock 2021)."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.hooks.clip_adaptive import ClipAdaptive as Hook
from unvanish.remedies.optimizers.group_settings import AddStepHooks, find_hooks, find_optimizers
from unvanish.remedies.structure.input_output_layers import output_positions

MAX_RATIO = 0.01
"""The largest norm of a unit's gradient over that of its weights (Brock 2021, arXiv 2102.06171, for batches of 4096; smaller
batches can take more)."""

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
        """One hook an optimizer. Raises NotApplicable where each has it, or trains nothing but the output layer."""
        optimizers = find_optimizers(network, context.optimizers, remedy=self.name)
        graph = trace_graph(network, context.inputs)
        last_layers = [graph.steps[position].module for position in output_positions(graph)]
        output_parameters = {id(p): p for module in last_layers if module is not None for p in module.parameters()}
        transposed = [module.weight for module in network.modules() if isinstance(module, _TRANSPOSED)]
        operations: list[Operation] = []
        is_clipped = False
        for path, optimizer in optimizers.items():
            is_clipped |= bool(find_hooks(optimizer, Hook))
            has_other_parameters = any(id(p) not in output_parameters for group in optimizer.param_groups for p in group["params"])
            if has_other_parameters and not find_hooks(optimizer, Hook):
                hook = Hook(MAX_RATIO, output_parameters.values(), transposed)
                trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
                left_alone = [name for name, module in network.named_modules() if module in last_layers and name]
                description = f"each unit's gradient clipped to {MAX_RATIO:g} of its weights"
                if left_alone:
                    description += f", but in {', '.join(left_alone)}"
                if not trained.isdisjoint(map(id, transposed)):
                    description += "; units are columns in transposed convolutions"
                operations.append(AddStepHooks(path, optimizer, hook.before_step, None, description))
        if not operations:
            name = type(network).__name__
            raise NotApplicable(
                f"{self.name}: the gradients of {name} are clipped so already; undo that first"
                if is_clipped
                else f"{self.name}: {name} is nothing but an output layer, which is never clipped; use clip-norm"
            )
        return tuple(operations)
