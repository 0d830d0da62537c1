"""Scores that stay so small that the probabilities made of them have logarithms. It changes no weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

from torch import nn
from torch.optim import Optimizer

from unvanish.errors import NotApplicable
from unvanish.record.change import Edit
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.activation_exchange import rewritten
from unvanish.remedies.edits.renamed_call import Renamed
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.layers.bounded import before_sigmoid, before_softmax, scores_behind
from unvanish.remedies.structure.output_squash import BOUNDED, LOGARITHMS, squashes

_HOME = "unvanish.remedies.layers.bounded"
_CALLS = {"sigmoid": Renamed(f"{_HOME}:bounded_sigmoid"), "softmax": Renamed(f"{_HOME}:bounded_softmax")}
_HOOKS = (before_sigmoid, before_softmax, scores_behind)


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
        """One operation an output. Raises NotApplicable where it is held already, or is no score."""
        name = type(network).__name__
        layout = trace_graph(network, context.inputs)
        if squashes(layout, BOUNDED) or any(hook in _HOOKS for module in network.modules() for hook in _hooks(module)):
            raise NotApplicable(f"{self.name}: the scores of {name} are held in bounds already; nothing is left to do")
        if squashes(layout, LOGARITHMS):
            raise NotApplicable(
                f"{self.name}: {name} puts out logarithms of probabilities, which are finite; nothing is left to do"
            )
        chosen = squashes(layout, ("sigmoid", "softmax"))
        if not chosen and squashes(layout):
            raise NotApplicable(f"{self.name}: the output of {name} is neither probabilities nor scores; use sigmoid-output")
        modules = {step.module: step.path for step in chosen if step.module is not None}
        calls = [(step, _CALLS[step.op]) for step in chosen if step.module is None]
        if not chosen:
            return (_Hold("", network, "output"),)
        return (*(_Hold(path, each, "input") for each, path in modules.items()), *rewritten(network, calls, remedy=self.name))


@dataclass(frozen=True, slots=True)
class _Hold(Operation):
    """Has a module hold its input in bounds, or the network its output."""

    path: str
    module: nn.Module
    what: str

    @property
    def edit(self) -> Edit:
        """The module, without and with it."""
        written = repr(self.module) if self.path else type(self.module).__name__
        return Edit("set", self.path, written, f"{written}, its {self.what} held within what has a logarithm")

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Registers the hook."""
        del network, optimizers
        if self.what == "output":
            self.module.register_forward_hook(scores_behind)
        else:
            self.module.register_forward_pre_hook(before_softmax if isinstance(self.module, nn.Softmax) else before_sigmoid)


def _hooks(module: nn.Module) -> tuple[Callable[..., Any], ...]:
    return (*vars(module)["_forward_hooks"].values(), *vars(module)["_forward_pre_hooks"].values())
