"""The remedy pre-norm: normalisation at the beginning of each residual branch of a transformer instead of behind the sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from torch import nn
from torch.optim import Optimizer

from unvanish.errors import NotApplicable
from unvanish.record.network_changes import Edit
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.activation_replacement import rewrite_calls
from unvanish.remedies.edits.norm_order import NormFirst
from unvanish.remedies.graph.forward_graph import ForwardGraph, GraphStep
from unvanish.remedies.graph.signal_kinds import Kind
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.optimizers.parameter_groups import add_parameters
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
        post_norm_layers = [
            (path, module) for path, module in network.named_modules() if isinstance(module, TorchLayer) and not module.norm_first
        ]
        flips = [_NormFirst(path, layer) for path, layer in post_norm_layers]
        stacks = [(path, module) for path, module in network.named_modules() if isinstance(module, TorchStack)]
        final_norms = [_FinalNorm(path, stack) for path, stack in stacks if _lacks_final_norm(stack)]
        graph = trace_graph(network, context.inputs)
        sum_norms = _norms_of_sums(graph)
        rewrites = rewrite_calls(network, [(step, NormFirst()) for step in (sum_norms[:-1] or sum_norms)], remedy=self.name)
        operations = (*flips, *final_norms, *rewrites)
        if not operations:
            raise NotApplicable(f"pre-norm: {_explain_refusal(network, graph)}")
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
        return _last_layer(self.stack).norm1.normalized_shape[0]

    def perform(self, network: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        del network
        last = _last_layer(self.stack)
        norm = nn.LayerNorm(self._width, eps=last.norm1.eps).to(last.linear1.weight)
        self.stack.norm = norm.train(self.stack.training)  # the attribute is None until now
        fresh = {f"{self.path}.norm.{name}".lstrip("."): p for name, p in norm.named_parameters()}
        add_parameters(fresh, optimizers, trained_with=tuple(last.parameters()))


def _last_layer(stack: TorchStack) -> TorchLayer:
    layer = stack.layers[len(stack.layers) - 1]
    assert isinstance(layer, TorchLayer)
    return layer


def _lacks_final_norm(stack: TorchStack) -> bool:
    """Whether a stack of torch's post-norm layers ends without a normalisation of its own."""
    if stack.norm is not None or not len(stack.layers):
        return False
    return all(isinstance(layer, TorchLayer) and not layer.norm_first for layer in stack.layers)


def _norms_of_sums(graph: ForwardGraph) -> list[GraphStep]:
    """The normalisations of a residual sum whose branch contains none, in order, each once."""
    sums = {
        branch.sum
        for branch in residual_branches(graph)
        if not any(graph.steps[position].kind is Kind.NORMALISATION for position in branch.steps)
    }
    steps = [step for step in graph.steps if step.kind is Kind.NORMALISATION and len(step.sources) == 1 and step.sources[0] in sums]
    return list({step.module: step for step in steps if step.module is not None}.values())


def _explain_refusal(network: nn.Module, graph: ForwardGraph) -> str:
    name = type(network).__name__
    if any(isinstance(module, TorchLayer) for module in network.modules()):
        return f"the transformer layers of {name} are pre-norm already; nothing is left to turn"
    if not graph.is_traced:
        return f"the forward of {name} could not be traced, so its residual sums are not seen; pass inputs= to have it followed"
    return f"{name} has no normalisation behind a residual sum: it is no post-norm transformer; choose another remedy"
