"""The remedy tailored-activation: the network's own activations, scaled and shifted to suit its depth."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import ClassVar, TypeAlias, final

from torch import nn

from unvanish.errors import NotApplicable, UsageError
from unvanish.record.initial_values import Law
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.activation_replacement import ActivationForms, is_exchangeable, is_hidden_ungated, replace_by_choice
from unvanish.remedies.edits.method_rewriting import FunctionCall
from unvanish.remedies.edits.module_edits import Fill
from unvanish.remedies.graph.call_sites import CallSite
from unvanish.remedies.graph.forward_graph import ForwardGraph, GraphStep
from unvanish.remedies.graph.nonlinearities import nonlinearity_of
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.init.orthogonal import (
    TRANSPOSED_CONVOLUTIONS,
    delta_orthogonal_,
    delta_orthogonal_factor,
    group_count,
    orthogonal_,
    orthogonal_factor,
)
from unvanish.remedies.init.target_weights import LayerTarget, layer_targets
from unvanish.remedies.init.weight_scale import fans
from unvanish.remedies.layers.tailored import TailoredActivation
from unvanish.remedies.structure.kernel_shape import KernelShape, NoKernelShape, kernel_shape
from unvanish.theory.kernel_shaping import ShapedActivation, tat, tat_leaky_relu
from unvanish.theory.nonlinearity import Nonlinearity

MEAN_SQUARE_TOLERANCE = 1e-9
"""Mean squares with a smaller relative difference are the same number summed in another order."""

DIGITS = 9
"""Significant digits of the numbers: float32 holds no more."""

_RECTIFIERS = ("relu", "leaky-relu")
_TORCH_NAMES = {"slope": "negative_slope"}  # the names of theory and of torch; an elu is tailored at torch's default only
_TAILORED_OPS = ("tailored", "tailoredactivation")
_TAILORED_FUNCTION = "unvanish.remedies.layers.tailored:tailored"

ActivationSite: TypeAlias = nn.Module | CallSite | None
"""An activation that is replaced as one: a module, or a call in the source."""


@final
class TailoredActivations(Remedy):
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
        """The replacement of every hidden activation, and one initialisation a weight. Raises NotApplicable with the reason."""
        graph = trace_graph(network, context.inputs)
        sites = _replaceable_sites(graph)
        _require_traced(network, graph, sites)
        phis = {site: _require_formula(graph.steps[positions[0]]) for site, positions in sites.items()}
        shape = _require_shape(network, graph, sites)
        weights = [target for target in layer_targets(network, remedy=self.name) if graph.positions(target.layer)]
        _require_redrawn(shape, weights)
        replacements = _tailor_sites(sites, phis, shape, graph)
        return (
            *replace_by_choice(network, graph, lambda step: replacements.get(_site(step)), remedy=self.name),
            *(_initialise(target, 1.0 / math.sqrt(shape.outer_layers.get(target.layer, 1.0)), context) for target in weights),
        )


def _site(step: GraphStep) -> ActivationSite:
    return step.site if step.module is None else step.module


def _replaceable_sites(graph: ForwardGraph) -> dict[ActivationSite, tuple[int, ...]]:
    """The positions of the activations that can be replaced, by module or call."""
    positions_by_site: dict[ActivationSite, tuple[int, ...]] = {}
    for position, step in graph.activations():
        positions_by_site[_site(step)] = (*positions_by_site.get(_site(step), ()), position)
    return {site: positions for site, positions in positions_by_site.items() if _is_replaceable(site, positions, graph)}


def _is_replaceable(site: ActivationSite, positions: tuple[int, ...], graph: ForwardGraph) -> bool:
    if isinstance(site, nn.Module):
        return is_exchangeable(site, graph)
    return all(is_hidden_ungated(position, graph) for position in positions)


def _require_formula(step: GraphStep) -> Nonlinearity:
    """The formula of an activation. Raises NotApplicable where it has none, or is no rectifier and its slope jumps."""
    phi = nonlinearity_of(step)
    has_own_settings = step.module is None and not step.has_default_arguments and step.op == "elu"
    if phi is None or has_own_settings or (phi.second is None and phi.name not in _RECTIFIERS):
        problem = "has a slope that jumps" if phi else "has no formula here"
        if has_own_settings:
            problem = "is called with settings that are not known"
        where = f"{step.op} in {step.path or 'the network itself'}" if step.module is None else f"{step.path!r} ({step.op})"
        raise NotApplicable(
            f"tailored-activation: {where} {problem}; apply relu or elu first, since rectifiers and smooth activations can be "
            "tailored"
        )
    return phi


def _require_traced(network: nn.Module, graph: ForwardGraph, sites: Mapping[ActivationSite, tuple[int, ...]]) -> None:
    name = type(network).__name__
    if not graph.is_traced:
        raise NotApplicable(
            f"tailored-activation: the forward of {name} could not be traced, so that its shape is unknown; pass inputs="
        )
    if any(step.op in _TAILORED_OPS for step in graph.steps):
        raise NotApplicable(f"tailored-activation: {name} has tailored activations; undo that change, or build the network anew")
    if not sites:
        raise NotApplicable(
            f"tailored-activation: {name} has no hidden activation of its own (those of outputs and gates, and inside recurrent, "
            "attention and transformer layers, stay as they are); choose another remedy"
        )


def _require_shape(network: nn.Module, graph: ForwardGraph, sites: Mapping[ActivationSite, tuple[int, ...]]) -> KernelShape:
    try:
        return kernel_shape(graph, {position for positions in sites.values() for position in positions})
    except NoKernelShape as error:
        raise NotApplicable(
            f"tailored-activation: {type(network).__name__} has no shape to tailor to: {error}; choose another remedy"
        ) from error


def _require_redrawn(shape: KernelShape, weights: list[LayerTarget]) -> None:
    redrawn_layers = {target.layer for target in weights}
    fixed_layer = next((layer for layer in shape.inner_layers if layer not in redrawn_layers), None)
    if fixed_layer is not None:
        raise NotApplicable(
            f"tailored-activation: the weights of a {type(fixed_layer).__name__} on the way are frozen, shared with another layer, "
            "or computed from others (weight_norm), where all must be drawn anew; give each layer a weight of its own"
        )


def _tailor_sites(
    sites: Mapping[ActivationSite, tuple[int, ...]],
    phis: Mapping[ActivationSite, Nonlinearity],
    shape: KernelShape,
    graph: ForwardGraph,
) -> dict[ActivationSite, ActivationForms]:
    solved = {phi: _solve(phi, shape) for phi in set(phis.values())}
    forms: dict[ActivationSite, ActivationForms] = {}
    for site, positions in sites.items():
        mean_squares = [shape.mean_squares[position] for position in positions]
        if max(mean_squares) > min(mean_squares) * (1.0 + MEAN_SQUARE_TOLERANCE):
            step = graph.steps[positions[0]]
            raise NotApplicable(
                f"tailored-activation: one {step.op} in {step.path or 'the network itself'} serves several places of a residual "
                "network, whose signals differ in size; give each block an activation of its own"
            )
        forms[site] = _build_forms(solved[phis[site]], mean_squares[0])
    return forms


def _solve(phi: Nonlinearity, shape: KernelShape) -> ShapedActivation:
    try:
        return tat_leaky_relu(shape.network) if phi.name in _RECTIFIERS else tat(phi, shape.network)
    except UsageError as error:
        raise NotApplicable(f"tailored-activation: {error}") from error


def _build_forms(tailored: ShapedActivation, mean_square: float) -> ActivationForms:
    """The activation in both forms, for signals of that mean square: the theory's alpha is for mean square 1."""
    phi = tailored.phi.name.replace("-", "_")
    settings = {_TORCH_NAMES[name]: value for name, value in tailored.phi.settings if name in _TORCH_NAMES}
    parameters = {
        "alpha": (tailored.alpha / math.sqrt(mean_square), 1.0),
        "beta": (tailored.beta, 0.0),
        "gamma": (tailored.gamma, 1.0),
        "delta": (tailored.delta, 0.0),
    }
    numbers = {name: float(f"{value:.{DIGITS}g}") for name, (value, default) in parameters.items() if value != default}
    numbers |= {name: float(f"{value:.{DIGITS}g}") for name, value in settings.items()}
    return ActivationForms(
        functools.partial(TailoredActivation, phi, **numbers),
        FunctionCall(_TAILORED_FUNCTION, (("phi", phi), *numbers.items())),
    )


def _initialise(target: LayerTarget, gain: float, context: Context) -> Operation:
    layer, generator = target.layer, context.generator
    groups = group_count(layer)
    fill: Fill
    if not isinstance(layer, (nn.Linear, *TRANSPOSED_CONVOLUTIONS)) and all(extent % 2 for extent in layer.kernel_size):
        distribution, law = "delta-orthogonal", Law.DELTA_ORTHOGONAL
        factor = delta_orthogonal_factor(target.weight.shape, gain=gain, groups=groups)
        fill = functools.partial(delta_orthogonal_, gain=gain, generator=generator, groups=groups)
    else:
        distribution, law = "orthogonal", Law.ORTHOGONAL
        fan_in, _ = fans(layer)
        factor = orthogonal_factor(*target.rows_and_columns, fan_in=fan_in, gain=gain)
        fill = functools.partial(orthogonal_, fan_in=fan_in, gain=gain, generator=generator, groups=groups)
    return target.fill_operation(fill, after=f"{distribution}, gain {gain:.3g}", law=law, scale=factor)
