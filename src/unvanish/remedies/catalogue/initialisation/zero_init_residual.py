"""The remedy zero-init-residual: residual branches that start at zero, with Fixup's scale where nothing is normalised."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import ClassVar, final

from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.record.initial_values import Law
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.catalogue.initialisation.he_init import he_
from unvanish.remedies.edits.module_edits import Initialise
from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.init.target_weights import LayerTarget, gain_after, layer_targets
from unvanish.remedies.init.values_as_data import module_values
from unvanish.remedies.init.weight_scale import fans
from unvanish.remedies.structure.branch_ends import BranchEnd, branch_ends
from unvanish.remedies.structure.branches import Branch, residual_branches

# Their slope at zero is zero: a layer of zeros in front of them would never learn.
_DEAD_AT_ZERO = frozenset({"relu", "relu6", "threshold", "tanhshrink", "softshrink", "hardshrink"})


def fixup_factor(*, branches: int, layers: int) -> float:
    """The factor L^(-1 / (2m - 2)) on the weights of a branch of m layers, of L branches, when its last layer is zero.

    Then an update changes the network's output by as much whatever its depth (Zhang 2019, arXiv 1901.09321, sec. 3).
    """
    return float(branches) ** (-1.0 / (2 * layers - 2)) if layers > 1 else 1.0


@final
class ZeroInitResidual(Remedy):
    """Zeroes the end of every residual branch, so that every block starts as the identity and the network as a shallow one.

    Does: where a sum adds a branch to a signal that flows past (as it is, or through one projection), the branch's last
        normalisation becomes 0, or its last layer where no normalisation with parameters comes after that. In torch's own
        transformer layers these are the output of each attention and the second linear layer. If neither branch nor sum is
        normalised, it is scaled after Fixup too: its other layers are drawn anew from He's distribution times L^(-1/(2m-2)), for
        L such branches and m layers in each, with zero biases, and the network's output layer becomes 0. The paper's scalar
        biases and multipliers are left out: they would be new parameters. All else stays. Given the optimizer, its state of
        these parameters starts afresh.
    Helps: deep residual networks, whose signal and gradient else double in every block without a normalisation, and which need
        warmup with one. 100 blocks of two layers, He-initialised and without normalisation, stayed near chance on digits (.12)
        and reached .97 with it.
    Harms: what the branches have learned is lost. In the first steps only their ends learn, with a zero output layer only that. A
        branch that ends in a sigmoid or a rectifier stays as it is, since zeros in front of it make no zero, or never learn.
    Cost: none per step.
    References: Goyal et al. 2017, arXiv 1706.02677; Zhang et al. 2019, arXiv 1901.09321.
    """

    name: ClassVar[str] = "zero-init-residual"
    family: ClassVar[str] = "initialisation"
    summary: ClassVar[str] = "residual branches that start at zero; scaled after Fixup where nothing is normalised"
    treats: ClassVar[tuple[str, ...]] = ("exploding-gradient", "shattered-gradient")

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One initialisation a layer. Raises NotApplicable with the reason where no residual branch can start at zero."""
        graph = trace_graph(network, context.inputs)
        branches = residual_branches(graph)
        zeroable = _zeroable_branches(branches, network, graph)
        path_by_module = {end.module: end.path for _, ends in zeroable for end in ends} | dict(_transformer_ends(network))
        if not path_by_module:
            raise NotApplicable(f"zero-init-residual: {_explain_refusal(network, graph, branches)}")
        operations = [_zero(path, module, "the block starts as the identity") for module, path in path_by_module.items()]
        unnormalised = tuple(branch for branch, _ in zeroable if not branch.is_normalised)
        if unnormalised:
            targets_by_layer: dict[nn.Module, LayerTarget] = {
                target.layer: target for target in layer_targets(network, remedy=self.name)
            }
            operations += _scale_branches(
                unnormalised,
                graph,
                {layer: target for layer, target in targets_by_layer.items() if layer not in path_by_module},
                context,
            )
            branch_positions = {position for branch in branches for position in branch.steps}
            operations += [
                _zero(target.path, target.layer, "the output starts at zero")
                for target in _output_layers(graph, targets_by_layer, branch_positions)
            ]
        return tuple(operations)


def _zeroable_branches(
    branches: Sequence[Branch], network: nn.Module, graph: ForwardGraph
) -> tuple[tuple[Branch, tuple[BranchEnd, ...]], ...]:
    """The branches that can start at zero, each with its ends: trainable, their parameters shared with no other module, and
    run nowhere else."""
    owners = Counter(id(parameter) for module in network.modules() for parameter in module.parameters(recurse=False))
    ended = [(branch, ends) for branch in branches if (ends := branch_ends(branch, graph))]
    uses = Counter(graph.steps[position].module for position in {end.position for _, ends in ended for end in ends})

    def is_free(end: BranchEnd) -> bool:
        module = graph.steps[end.position].module
        is_own = all(parameter.requires_grad and owners[id(parameter)] == 1 for parameter in end.module.parameters(recurse=False))
        return is_own and module is not None and uses[module] == len(graph.positions(module))

    return tuple((branch, ends) for branch, ends in ended if all(map(is_free, ends)))


def _transformer_ends(network: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """The ends of the branches inside torch's own transformer layers, where they may be trained."""
    for path, layer in network.named_modules():
        ends: dict[str, nn.Module] = {}
        if isinstance(layer, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
            ends = {"self_attn.out_proj": layer.self_attn.out_proj, "linear2": layer.linear2}
        if isinstance(layer, nn.TransformerDecoderLayer):
            ends["multihead_attn.out_proj"] = layer.multihead_attn.out_proj
        for name, module in ends.items():
            if all(parameter.requires_grad for parameter in module.parameters()):
                yield module, f"{path}.{name}" if path else name


def _zero(path: str, module: nn.Module, purpose: str) -> Operation:
    fills = tuple((parameter, Tensor.zero_) for parameter in module.parameters(recurse=False) if parameter.requires_grad)
    values = module_values(path, module, [(parameter, Law.ZEROS) for parameter, _ in fills])
    return Initialise(path, repr(module), f"zero: {purpose}", fills, values)


def _scale_branches(
    branches: Sequence[Branch], graph: ForwardGraph, targets: Mapping[nn.Module, LayerTarget], context: Context
) -> Iterator[Operation]:
    """The layers of the branches without normalisation that are no ends, drawn anew at Fixup's scale."""
    done: set[nn.Module] = set()
    for branch in branches:
        weights = branch.weights(graph)
        factor = fixup_factor(branches=len(branches), layers=len(weights))
        for module in (graph.steps[position].module for position in weights):
            if module is None or module not in targets or module in done:
                continue
            done.add(module)
            target = targets[module]
            fan_in, _ = fans(target.layer)
            gain = factor * gain_after(target.layer, graph)
            fill = functools.partial(he_, fan_in=fan_in, gain=gain, generator=context.generator)
            std = gain / math.sqrt(fan_in)
            yield target.fill_operation(fill, after=f"He normal times {factor:.3g}, std {std:.3g}", law=Law.NORMAL, scale=std)


def _output_layers(
    graph: ForwardGraph, targets: Mapping[nn.Module, LayerTarget], branch_positions: Collection[int]
) -> Iterator[LayerTarget]:
    """The output layers: no weighted layer and no rectifier comes after them, and they are on no branch."""
    for module, target in targets.items():
        positions = graph.positions(module)
        if not positions or any(graph.hidden[position] or position in branch_positions for position in positions):
            continue
        following = graph.next_activation_or_layer(positions[0])
        if following is None or following.op not in _DEAD_AT_ZERO:
            yield target


def _explain_refusal(network: nn.Module, graph: ForwardGraph, branches: Sequence[Branch]) -> str:
    name = type(network).__name__
    if not graph.is_traced:
        return f"the forward of {name} could not be traced, so that its residual sums are not seen; pass inputs="
    if not branches:
        return f"{name} has no residual sum, whose branch could start at zero; use he-init, or give its blocks skips"
    ends = ", ".join(
        dict.fromkeys(
            f"{step.op} in {step.path or 'the network itself'}" for step in (graph.steps[branch.end] for branch in branches[:3])
        )
    )
    return (
        f"no residual branch of {name} can start at zero ({ends} at the end): it must end in a trainable layer of its own, with no "
        "sigmoid or rectifier behind; move the activation before that layer, or use residual"
    )
