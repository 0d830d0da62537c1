"""Zero initialisation of residual branches: a deep residual network that starts as a shallow one. It changes no architecture."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import ClassVar, final

from torch import Tensor, nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.catalogue.initialisation.he_init import he_
from unvanish.remedies.edits.module_edits import Initialise
from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.init.target_weights import Target, gain_behind, targets
from unvanish.remedies.init.weight_scale import fans
from unvanish.remedies.structure.branch_ends import End, branch_ends
from unvanish.remedies.structure.branches import Branch, residual_branches

# At zero their slope is zero: a layer of zeros in front of them would never learn.
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
        """One initialisation a layer. Raises NotApplicable where no branch is seen, or none can start at zero, and says why."""
        layout = trace_graph(network, context.inputs)
        branches = residual_branches(layout)
        ended = _ended(branches, network, layout)
        zeros = {end.module: end.path for _, ends in ended for end in ends} | dict(_sealed(network))
        if not zeros:
            raise NotApplicable(f"zero-init-residual: {_reason(network, layout, branches)}")
        operations = [_zeroed(path, module, "the block starts as the identity") for module, path in zeros.items()]
        bare = tuple(branch for branch, _ in ended if not branch.normalised)
        if bare:
            chosen: dict[nn.Module, Target] = {target.layer: target for target in targets(network, remedy=self.name)}
            operations += _scaled(bare, layout, {layer: t for layer, t in chosen.items() if layer not in zeros}, context)
            inside = {at for branch in branches for at in branch.steps}
            operations += [_zeroed(t.path, t.layer, "the output starts at zero") for t in _heads(layout, chosen, inside)]
        return tuple(operations)


def _ended(branches: Sequence[Branch], network: nn.Module, layout: ForwardGraph) -> tuple[tuple[Branch, tuple[End, ...]], ...]:
    """The branches that can start at zero, each with its ends: trainable, their parameters shared with no other module, and
    run nowhere else."""
    owners = Counter(id(p) for module in network.modules() for p in module.parameters(recurse=False))
    found = [(branch, ends) for branch in branches if (ends := branch_ends(branch, layout))]
    uses = Counter(layout.steps[at].module for at in {end.position for _, ends in found for end in ends})

    def free(end: End) -> bool:
        runs = layout.steps[end.position].module
        own = all(p.requires_grad and owners[id(p)] == 1 for p in end.module.parameters(recurse=False))
        return own and runs is not None and uses[runs] == len(layout.positions(runs))

    return tuple((branch, ends) for branch, ends in found if all(map(free, ends)))


def _sealed(network: nn.Module) -> Iterator[tuple[nn.Module, str]]:
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


def _zeroed(path: str, module: nn.Module, why: str) -> Operation:
    fills = tuple((parameter, Tensor.zero_) for parameter in module.parameters(recurse=False) if parameter.requires_grad)
    return Initialise(path, repr(module), f"zero: {why}", fills)


def _scaled(
    bare: Sequence[Branch], layout: ForwardGraph, chosen: Mapping[nn.Module, Target], context: Context
) -> Iterator[Operation]:
    """The layers of the branches without normalisation that are no ends, drawn anew at Fixup's scale."""
    done: set[nn.Module] = set()
    for branch in bare:
        weights = branch.weights(layout)
        factor = fixup_factor(branches=len(bare), layers=len(weights))
        for module in (layout.steps[at].module for at in weights):
            if module is None or module not in chosen or module in done:
                continue
            done.add(module)
            target = chosen[module]
            fan_in, _ = fans(target.layer)
            gain = factor * gain_behind(target.layer, layout)
            fill = functools.partial(he_, fan_in=fan_in, gain=gain, generator=context.generator)
            yield target.filled(fill, after=f"He normal times {factor:.3g}, std {gain / math.sqrt(fan_in):.3g}")


def _heads(layout: ForwardGraph, chosen: Mapping[nn.Module, Target], inside: Collection[int]) -> Iterator[Target]:
    """The output layers: no weighted layer and no rectifier comes after them, and they are on no branch."""
    for module, target in chosen.items():
        positions = layout.positions(module)
        if not positions or any(layout.hidden[at] or at in inside for at in positions):
            continue
        behind = layout.following(positions[0])
        if behind is None or behind.op not in _DEAD_AT_ZERO:
            yield target


def _reason(network: nn.Module, layout: ForwardGraph, branches: Sequence[Branch]) -> str:
    name = type(network).__name__
    if not layout.traced:
        return f"the forward of {name} could not be traced, so that its residual sums are not seen; pass inputs="
    if not branches:
        return f"{name} has no residual sum, whose branch could start at zero; use he-init, or give its blocks skips"
    ends = ", ".join(
        dict.fromkeys(f"{step.op} in {step.path or 'the network itself'}" for step in (layout.steps[b.end] for b in branches[:3]))
    )
    return (
        f"no residual branch of {name} can start at zero ({ends} at the end): it must end in a trainable layer of its own, with no "
        "sigmoid or rectifier behind; move the activation before that layer, or use residual"
    )
