"""Tailored activations: the network's own ones, scaled and shifted to suit its depth. It adds no layer and no skip."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import ClassVar, TypeAlias, final

from torch import nn

from unvanish.errors import NotApplicable, UsageError
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.activation_exchange import Activation, exchanges, is_exchangeable, is_inner
from unvanish.remedies.edits.method_rewriting import Substitute
from unvanish.remedies.edits.module_edits import Fill
from unvanish.remedies.graph.call_sites import CallSite
from unvanish.remedies.graph.forward_graph import ForwardGraph, GraphStep
from unvanish.remedies.graph.nonlinearities import nonlinearity_of
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.init.orthogonal import TRANSPOSED, delta_orthogonal_, group_count, orthogonal_
from unvanish.remedies.init.target_weights import Target, targets
from unvanish.remedies.init.weight_scale import fans
from unvanish.remedies.layers.tailored import TailoredActivation
from unvanish.remedies.structure.kernel_shape import NoShape, Shape, shape_of
from unvanish.theory.nonlinearity import Nonlinearity
from unvanish.theory.shaping import Tailored, tat, tat_leaky_relu

SAME_LENGTH = 1e-9
"""Mean squares that differ by less, relatively, are the same number summed in another order."""

_RECTIFIERS = ("relu", "leaky-relu")
_SETTINGS = {"slope": "negative_slope"}  # the names of theory and of torch; an elu is tailored at torch's default only
_TAILORED = ("tailored", "tailoredactivation")
_FUNCTION = "unvanish.remedies.layers.tailored:tailored"

_Use: TypeAlias = nn.Module | CallSite | None
"""What is exchanged in one: a module, or a call in the source."""


@final
class Tailoring(Remedy):
    """Scales and shifts the network's own activations to suit its depth, so that a deep network learns without skips or norms.

    Does: reads the network's depth and residual sums off its forward pass, and solves for the activation that keeps signals and
        gradients over them: gamma (phi(alpha x + beta) + delta) for smooth phi (tanh, sigmoid, softsign, softplus, GELU, SiLU,
        Mish, ELU), a scaled leaky ReLU of solved slope for ReLU and its leaky relatives, a learned slope (PReLU) included. It
        takes the place of every hidden activation, module or call; outputs and gates stay. Behind plain sums x + F(x), which
        grow, activations read their input at a smaller scale, and the output's weights shrink. All weights on the way are drawn
        anew: orthogonal, delta-orthogonal in odd convolutions, biases 0. Given the optimizer, its state of them starts afresh.
    Helps: plain networks of 30 layers and more. On digits, width 64, 50 layers of sigmoid reach .98 and 200 of leaky ReLU .97,
        where torch's default and He's initialisation stay at chance; 30 convolutions of tanh reach .99 in 96 steps, where He's
        reach .86. Lower the learning rate with depth (Adam at 0.06 over the depth), and let it decay.
    Harms: everything learned is lost. The theory takes inputs to have mean square one: take standardise-input with it. Refused
        where something else fixes the scale or has no theory: normalisation, attention, recurrence, products of signals, other
        joints than sums, a skip scaled in `forward`, activations whose slope jumps (hard ones, SELU).
    Cost: up to four more passes over each activation's output per step; about 10 ms to solve, and a QR decomposition a weight.
    References: Martens et al. 2021, arXiv 2110.01765; Zhang, Botev and Martens 2022, arXiv 2203.08120; Brock, De and Smith 2021,
        arXiv 2101.08692.
    """

    name: ClassVar[str] = "tailored-activation"
    family: ClassVar[str] = "activation"
    summary: ClassVar[str] = "the network's own activations, scaled and shifted to suit its depth"
    treats: ClassVar[tuple[str, ...]] = (
        "vanishing-gradient",
        "exploding-gradient",
        "saturated-activation",
        "representation-collapse",
        "off-critical-init",
        "dead-units",
    )

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """The exchange of every hidden activation, and one initialisation a weight. Raises NotApplicable, with the reason."""
        layout = trace_graph(network, context.inputs)
        uses = _uses(layout)
        _require_readable(network, layout, uses)
        phis = {use: _phi(layout.steps[positions[0]]) for use, positions in uses.items()}
        shape = _shape(network, layout, uses)
        weights = [target for target in targets(network, remedy=self.name) if layout.positions(target.layer)]
        _require_fresh(shape, weights)
        made = _activations(uses, phis, shape, layout)
        return (
            *exchanges(network, layout, lambda step: made.get(_use(step)), remedy=self.name),
            *(_filled(target, 1.0 / math.sqrt(shape.outer.get(target.layer, 1.0)), context) for target in weights),
        )


def _use(step: GraphStep) -> _Use:
    return step.site if step.module is None else step.module


def _uses(layout: ForwardGraph) -> dict[_Use, tuple[int, ...]]:
    """The positions of the activations that can be exchanged, by what is exchanged."""
    found: dict[_Use, tuple[int, ...]] = {}
    for position, step in layout.activations():
        found[_use(step)] = (*found.get(_use(step), ()), position)
    return {use: at for use, at in found.items() if _can_go(use, at, layout)}


def _can_go(use: _Use, positions: tuple[int, ...], layout: ForwardGraph) -> bool:
    if isinstance(use, nn.Module):
        return is_exchangeable(use, layout)
    return all(is_inner(position, layout) for position in positions)


def _phi(step: GraphStep) -> Nonlinearity:
    """The formula of an activation. Raises NotApplicable where it has none, or a slope that jumps in no rectifier."""
    phi = nonlinearity_of(step)
    given = step.module is None and not step.plain and step.op == "elu"
    if phi is None or given or (phi.second is None and phi.name not in _RECTIFIERS):
        why = "is called with settings that are not known" if given else "has a slope that jumps" if phi else "has no formula here"
        where = f"{step.op} in {step.path or 'the network itself'}" if step.module is None else f"{step.path!r} ({step.op})"
        raise NotApplicable(
            f"tailored-activation: {where} {why}; apply relu or elu first, since rectifiers and smooth activations can be tailored"
        )
    return phi


def _require_readable(network: nn.Module, layout: ForwardGraph, uses: Mapping[_Use, tuple[int, ...]]) -> None:
    name = type(network).__name__
    if not layout.traced:
        raise NotApplicable(
            f"tailored-activation: the forward of {name} could not be traced, so that its shape is unknown; pass inputs="
        )
    if any(step.op in _TAILORED for step in layout.steps):
        raise NotApplicable(f"tailored-activation: {name} has tailored activations; undo that change, or build the network anew")
    if not uses:
        raise NotApplicable(
            f"tailored-activation: {name} has no hidden activation of its own (those of outputs and gates, and inside recurrent, "
            "attention and transformer layers, stay as they are); choose another remedy"
        )


def _shape(network: nn.Module, layout: ForwardGraph, uses: Mapping[_Use, tuple[int, ...]]) -> Shape:
    try:
        return shape_of(layout, {position for positions in uses.values() for position in positions})
    except NoShape as why:
        raise NotApplicable(
            f"tailored-activation: {type(network).__name__} has no shape to tailor to: {why}; choose another remedy"
        ) from why


def _require_fresh(shape: Shape, weights: list[Target]) -> None:
    fresh = {target.layer for target in weights}
    stale = next((layer for layer in shape.inner if layer not in fresh), None)
    if stale is not None:
        raise NotApplicable(
            f"tailored-activation: the weights of a {type(stale).__name__} on the way are frozen, shared with another layer, or "
            "computed from others (weight_norm), where all must be drawn anew; give each layer a weight of its own"
        )


def _activations(
    uses: Mapping[_Use, tuple[int, ...]], phis: Mapping[_Use, Nonlinearity], shape: Shape, layout: ForwardGraph
) -> dict[_Use, Activation]:
    solved = {phi: _solved(phi, shape) for phi in set(phis.values())}
    made: dict[_Use, Activation] = {}
    for use, positions in uses.items():
        lengths = [shape.lengths[position] for position in positions]
        if max(lengths) > min(lengths) * (1.0 + SAME_LENGTH):
            step = layout.steps[positions[0]]
            raise NotApplicable(
                f"tailored-activation: one {step.op} in {step.path or 'the network itself'} serves several places of a residual "
                "network, whose signals differ in size; give each block an activation of its own"
            )
        made[use] = _activation(solved[phis[use]], lengths[0])
    return made


def _solved(phi: Nonlinearity, shape: Shape) -> Tailored:
    try:
        return tat_leaky_relu(shape.network) if phi.name in _RECTIFIERS else tat(phi, shape.network)
    except UsageError as why:
        raise NotApplicable(f"tailored-activation: {why}") from why


def _activation(solved: Tailored, length: float) -> Activation:
    """The activation in both forms, for signals of that mean square: what the theory has for 1 reads them through its alpha."""
    phi = solved.phi.name.replace("-", "_")
    settings = {_SETTINGS[name]: value for name, value in solved.phi.settings if name in _SETTINGS}
    numbers = {
        "alpha": solved.alpha / math.sqrt(length),
        "beta": solved.beta,
        "gamma": solved.gamma,
        "delta": solved.delta,
    }
    return Activation(
        functools.partial(TailoredActivation, phi, settings, **numbers),
        Substitute(_FUNCTION, (("phi", phi), *settings.items(), *numbers.items())),
    )


def _filled(target: Target, gain: float, context: Context) -> Operation:
    layer, generator = target.layer, context.generator
    groups = group_count(layer)
    fill: Fill
    if not isinstance(layer, (nn.Linear, *TRANSPOSED)) and all(extent % 2 for extent in layer.kernel_size):
        fill, kind = functools.partial(delta_orthogonal_, gain=gain, generator=generator, groups=groups), "delta-orthogonal"
    else:
        fan_in, _ = fans(layer)
        fill, kind = functools.partial(orthogonal_, fan_in=fan_in, gain=gain, generator=generator, groups=groups), "orthogonal"
    return target.filled(fill, after=f"{kind}, gain {gain:.3g}")
