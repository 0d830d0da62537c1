"""Normalisation at the beginning of each residual branch instead of behind the sum, in transformers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from torch import nn
from torch.optim import Optimizer

from unvanish.errors import NotApplicable
from unvanish.record.change import Edit
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.activation_exchange import rewritten
from unvanish.remedies.edits.norm_order import NormFirst
from unvanish.remedies.graph.forward_graph import ForwardGraph, GraphStep
from unvanish.remedies.graph.kinds import Kind
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.optimizers.parameters import enrol
from unvanish.remedies.structure.branches import residual_branches

TorchLayer = nn.TransformerEncoderLayer | nn.TransformerDecoderLayer
TorchStack = nn.TransformerEncoder | nn.TransformerDecoder


@final
class PreNorm(Remedy):
    """Normalises before each residual branch of a transformer instead of behind the sum, so that the skips carry the gradient
    unhindered.

    Does: sets norm_first of torch's transformer layers, and gives their encoder or decoder a final nn.LayerNorm where it has
        none. In blocks written by hand, x = norm(x + branch(x)) in `forward` becomes x + branch(norm(x)); the last such
        normalisation stays behind its sum and serves as the final one. Weights, names and their state in the optimizer stay.
        The new normalisation joins the optimizer if it is given; otherwise build the optimizer afterwards.
    Helps: deep post-norm transformers, whose gradient shrinks with every normalisation on the skip, and which otherwise need a
        warm-up; larger learning rates become possible.
    Harms: a trained network no longer computes what it learned. With few layers post-norm can end slightly better.
    Cost: none, but for one normalisation at the end.
    References: Xiong et al. 2020, "On layer normalization in the transformer architecture", arXiv 2002.04745.
    """

    name: ClassVar[str] = "pre-norm"
    family: ClassVar[str] = "architecture"
    summary: ClassVar[str] = "pre-norm in place of post-norm transformer blocks"
    treats: ClassVar[tuple[str, ...]] = ("vanishing-gradient", "exploding-gradient", "loss-not-decreasing")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One operation a layer or block. Raises NotApplicable where no normalisation stands behind a residual sum."""
        torchs = [(path, m) for path, m in network.named_modules() if isinstance(m, TorchLayer) and not m.norm_first]
        turned = [_NormFirst(path, layer) for path, layer in torchs]
        stacks = [(path, m) for path, m in network.named_modules() if isinstance(m, TorchStack)]
        ends = [_FinalNorm(path, stack) for path, stack in stacks if _wants_end(stack)]
        layout = trace_graph(network, context.inputs)
        behind = _behind_sums(layout)
        own = rewritten(network, [(step, NormFirst()) for step in (behind[:-1] or behind)], remedy=self.name)
        operations = (*turned, *ends, *own)
        if not operations:
            raise NotApplicable(f"pre-norm: {_reason(network, layout)}")
        return operations


@dataclass(frozen=True, slots=True)
class _NormFirst(Operation):
    path: str
    layer: TorchLayer

    @property
    def edit(self) -> Edit:
        return Edit("set", self.path, "norm_first=False", "norm_first=True")

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        del network, optimizers
        self.layer.norm_first = True


@dataclass(frozen=True, slots=True)
class _FinalNorm(Operation):
    path: str
    stack: TorchStack

    @property
    def edit(self) -> Edit:
        return Edit("insert", f"{self.path}.norm".lstrip("."), "None", f"LayerNorm({self._width})")

    @property
    def _width(self) -> int:
        return _last(self.stack).norm1.normalized_shape[0]

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        del network
        last = _last(self.stack)
        norm = nn.LayerNorm(self._width, eps=last.norm1.eps).to(last.linear1.weight)
        self.stack.norm = norm.train(self.stack.training)  # which is an attribute that holds None until now
        fresh = {f"{self.path}.norm.{name}".lstrip("."): p for name, p in norm.named_parameters()}
        enrol(fresh, optimizers, beside=tuple(last.parameters()))


def _last(stack: TorchStack) -> TorchLayer:
    layer = stack.layers[len(stack.layers) - 1]
    assert isinstance(layer, TorchLayer)
    return layer


def _wants_end(stack: TorchStack) -> bool:
    """Whether a stack of torch's post-norm layers ends without a normalisation of its own."""
    if stack.norm is not None or not len(stack.layers):
        return False
    return all(isinstance(layer, TorchLayer) and not layer.norm_first for layer in stack.layers)


def _behind_sums(layout: ForwardGraph) -> list[GraphStep]:
    """The normalisations that take a residual sum whose branch has none itself, in order, each once."""
    totals = {
        each.sum for each in residual_branches(layout) if not any(layout.steps[at].kind is Kind.NORMALISATION for at in each.steps)
    }
    steps = [s for s in layout.steps if s.kind is Kind.NORMALISATION and len(s.sources) == 1 and s.sources[0] in totals]
    return list({step.module: step for step in steps if step.module is not None}.values())


def _reason(network: nn.Module, layout: ForwardGraph) -> str:
    name = type(network).__name__
    if any(isinstance(module, TorchLayer) for module in network.modules()):
        return f"the transformer layers of {name} are pre-norm already; nothing is left to turn"
    if not layout.traced:
        return f"the forward of {name} could not be traced, so its residual sums are not seen; pass inputs= to have it followed"
    return f"{name} has no normalisation behind a residual sum: it is no post-norm transformer; choose another remedy"
