"""The remedy bounded-logits: logits held in bounds, so that the logarithms of their probabilities are finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

from torch import nn
from torch.optim import Optimizer

from unvanish.errors import NotApplicable
from unvanish.network.module_hooks import forward_hooks, forward_pre_hooks
from unvanish.record.network_changes import Edit
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.activation_replacement import rewrite_calls
from unvanish.remedies.edits.function_rename import FunctionRename
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.layers.bounded_scores import bound_output, bound_sigmoid_input, bound_softmax_input
from unvanish.remedies.structure.output_activations import BOUNDED_SQUASHES, LOGARITHMS, output_squashes

_BOUNDED_LAYERS = "unvanish.remedies.layers.bounded_scores"
_CALLS = {op: FunctionRename(f"{_BOUNDED_LAYERS}:bounded_{op}") for op in ("sigmoid", "softmax")}
_HOOKS = (bound_sigmoid_input, bound_softmax_input, bound_output)


@final
class BoundedLogits(Remedy):
    """Keeps the scores before the output's sigmoid or softmax in bounds, so that no probability is exactly 0 or 1.

    Does: holds what goes into a sigmoid at the network's output within 13.9 on both sides (in float32), and what goes into a
        softmax at most 13.9 below its largest score: the probability stays 1e-6 away from 0 and 1. The gradient passes as if
        nothing were held, so that an example on the wrong side is pulled back however far out it lies. Where the network ends in
        neither, its output itself is held so, for programs that apply the sigmoid or softmax themselves.
    Helps: a loss that takes logarithms of probabilities by hand, -y log(p) - (1 - y) log(1 - p), which is infinite, and NaN in its
        gradient, as soon as one p is rounded to 0 or 1.
    Harms: nothing that 1e-6 more or less harms; but an output that is no score, such as a price, is cut off at 13.9. The loss on
        logits is the better cure where the program can be changed by hand: BCEWithLogitsLoss, CrossEntropyLoss.
    Cost: a few operations on the output per step.
    References: PyTorch documentation, "BCEWithLogitsLoss", on the log-sum-exp trick; Blanchard, Higham and Higham 2021,
        "Accurately computing the log-sum-exp and softmax functions".
    """

    name: ClassVar[str] = "bounded-logits"
    family: ClassVar[str] = "output"
    summary: ClassVar[str] = "scores so small that their probabilities never round to 0 or 1"
    treats: ClassVar[tuple[str, ...]] = ("numerical-domain",)

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One operation an output. Raises NotApplicable where it is bounded already, or is neither logits nor probabilities."""
        name = type(network).__name__
        graph = trace_graph(network, context.inputs)
        if output_squashes(graph, BOUNDED_SQUASHES) or any(
            hook in _HOOKS for module in network.modules() for hook in _hooks(module)
        ):
            raise NotApplicable(f"{self.name}: the scores of {name} are held in bounds already; nothing is left to do")
        if output_squashes(graph, LOGARITHMS):
            raise NotApplicable(
                f"{self.name}: {name} puts out logarithms of probabilities, which are finite; nothing is left to do"
            )
        squashes = output_squashes(graph, ("sigmoid", "softmax"))
        if not squashes and output_squashes(graph):
            raise NotApplicable(f"{self.name}: the output of {name} is neither probabilities nor scores; use sigmoid-output")
        modules = {step.module: step.path for step in squashes if step.module is not None}
        calls = [(step, _CALLS[step.op]) for step in squashes if step.module is None]
        if not squashes:
            return (_Bound("", network, "output"),)
        return (
            *(_Bound(path, module, "input") for module, path in modules.items()),
            *rewrite_calls(network, calls, remedy=self.name),
        )


@dataclass(frozen=True, slots=True)
class _Bound(Operation):
    """Registers a hook that bounds a module's input, or the network's output; `side` is "input" or "output"."""

    path: str
    module: nn.Module
    side: str

    @property
    def edit(self) -> Edit:
        """The module without and with the bounds."""
        text = repr(self.module) if self.path else type(self.module).__name__
        return Edit("set", self.path, text, f"{text}, its {self.side} held within what has a logarithm")

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Registers the hook."""
        del network, optimizers
        if self.side == "output":
            self.module.register_forward_hook(bound_output)
        else:
            self.module.register_forward_pre_hook(
                bound_softmax_input if isinstance(self.module, nn.Softmax) else bound_sigmoid_input
            )


def _hooks(module: nn.Module) -> tuple[Callable[..., Any], ...]:
    return (*forward_hooks(module), *forward_pre_hooks(module))
