"""Critical initialisation: the scale at which theory keeps signal and gradient over this depth. It changes no architecture."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from unvanish.errors import NotApplicable, UsageError
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.edits.module_edits import Fill, Initialise
from unvanish.remedies.graph.kinds import is_one_operation
from unvanish.remedies.graph.model_copy import model_copy, without_trace
from unvanish.remedies.graph.shape_probe import fed, misfit
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.init.orthogonal import delta_orthogonal_, group_count, orthogonal_, takes_delta
from unvanish.remedies.init.target_weights import Target, targets
from unvanish.remedies.init.weight_scale import fans
from unvanish.remedies.structure.plain_chain import Chain, NoPlainChain, plain_chain
from unvanish.theory.criticality import NEUTRAL_BAND, Scale
from unvanish.theory.initialisation import critical_scale, critical_start
from unvanish.theory.nonlinearity import Nonlinearity

INPUT_LENGTH = 1.0
"""The mean square that inputs are taken to have where none are given."""

OUTPUT_LENGTH = 1.0
"""The mean square of the network's outputs. At q, they would start all but equal: 1,000 layers of tanh reached .950 at 1, .925 at q
(digits, 150 steps of Adam 2e-5)."""


def normal_(bias: Tensor, *, std: float, generator: torch.Generator) -> Tensor:
    """The same tensor, filled from N(0, std^2)."""
    return bias.normal_(0.0, std, generator=generator)


@final
class CriticalInit(Remedy):
    """Draws all weights anew, orthogonal and at the scale that theory gives for the network's own activations and depth.

    Does: finds the length q (mean square of a unit's input) that the activation bears over this depth: 1 / depth for tanh and
        other bent units, 1 for ReLU, which keeps any. Weights behind an activation phi become orthogonal with fan_in times their
        mean square equal to 1 / E[phi'^2], so that gradients keep their size, and biases are drawn from N(0, q - E[phi^2] /
        E[phi'^2]), so that the length stays at q. The first layer brings the inputs to q: measured with inputs=, else taken to
        have mean square 1; the last brings the outputs to 1. Convolutions with a centre that do not narrow become
        delta-orthogonal. Tied weights are drawn once; embeddings stay. Given the optimizer, its state of the redrawn parameters
        starts afresh.
    Helps: plain networks of tanh at any depth: 1,000 layers of width 32, which get no gradient at all at torch's default, reach
        .95 on digits after 150 steps. At 50 layers tanh, ELU, SELU, GELU and ReLU learn with it that stay at chance without.
        Lower the learning rate with depth: Adam at 0.02 to 0.06 over the depth.
    Harms: everything learned is lost. Plain chains only: refused for sums and products of signals and for normalisations, which
        set the length themselves, for recurrent and attention layers, and for sigmoid and softplus, which have no such scale. A
        ReLU network of 100 layers and more forgets its inputs nevertheless: tailor its activation. Pooling and padding are not
        reckoned with; nor is a missing bias, whose variance is small.
    Cost: none per step; one QR decomposition per weight, 0.1 s for 1024 x 1024.
    References: Schoenholz et al. 2017, arXiv 1611.01232; Pennington et al. 2017, arXiv 1711.04735; Xiao et al. 2018, arXiv
        1806.05393.
    """

    name: ClassVar[str] = "critical-init"
    family: ClassVar[str] = "initialisation"
    summary: ClassVar[str] = "orthogonal weights at the scale that theory gives for this activation and depth"
    treats: ClassVar[tuple[str, ...]] = (
        "vanishing-gradient",
        "exploding-gradient",
        "off-critical-init",
        "symmetric-init",
        "saturated-activation",
    )

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """One initialisation a weight. Raises NotApplicable where theory does not speak of this network, and says why."""
        chosen = targets(network, remedy=self.name)
        if is_one_operation(network):
            raise NotApplicable(f"critical-init: {type(network).__name__} is one layer and no deep network; use orthogonal-init")
        try:
            chain = plain_chain(trace_graph(network, context.inputs))
        except NoPlainChain as why:
            raise NotApplicable(f"critical-init: {type(network).__name__} is no plain chain: {why}") from why
        chosen = tuple(target for target in chosen if target.weight in chain.before)
        if not chosen:
            raise NotApplicable(f"critical-init: no trainable layer of {type(network).__name__} runs as a module; use he-init")
        first = {target.path for target in chosen if chain.before[target.weight] is None}
        lengths = _input_lengths(network, context.inputs, first) if context.inputs is not None and first else {}
        q, scales = _scales(chain)
        operations: list[Operation] = []
        for target in chosen:
            phi = chain.before[target.weight]
            scale = Scale(q / lengths.get(target.path, INPUT_LENGTH), 0.0) if phi is None else scales[phi]
            if target.weight in chain.last:
                scale = Scale(scale.sw2 * OUTPUT_LENGTH / q, 0.0)
            operations.append(_filled(target, scale, q, context.generator))
        return tuple(operations)


def _scales(chain: Chain) -> tuple[float, Mapping[Nonlinearity, Scale]]:
    """The one length that all activations of a chain bear over its depth, and for each the variances that keep it."""
    phis = {phi for phi in chain.before.values() if phi is not None}
    try:
        q = min((critical_start(phi, depth=chain.depth).q for phi in phis), default=1.0)
        return q, {phi: critical_scale(phi, q=q) for phi in phis}
    except UsageError as why:
        raise NotApplicable(f"critical-init: {why} (remedies: relu, batchnorm, tailored-activation)") from why


def _filled(target: Target, scale: Scale, q: float, generator: torch.Generator) -> Operation:
    layer, gain = target.layer, math.sqrt(scale.sw2)
    groups = group_count(layer)
    fill: Fill
    if takes_delta(layer):
        fill, kind = functools.partial(delta_orthogonal_, gain=gain, generator=generator, groups=groups), "delta-orthogonal"
    else:
        fan_in, _ = fans(layer)
        fill, kind = functools.partial(orthogonal_, fan_in=fan_in, gain=gain, generator=generator, groups=groups), "orthogonal"
    after = f"{kind}, gain {gain:.4g}"
    if target.bias is None or scale.sb2 <= NEUTRAL_BAND * q:
        return target.filled(fill, after=after)
    std = math.sqrt(scale.sb2)
    drawn = functools.partial(normal_, std=std, generator=generator)
    return Initialise(
        target.path, repr(layer), f"{after}; bias normal, std {std:.2g}", ((target.weight, fill), (target.bias, drawn))
    )


def _input_lengths(network: nn.Module, inputs: Any, paths: Collection[str]) -> Mapping[str, float]:
    """The mean square of what enters each of some layers, on a stand-in that runs in evaluation mode."""
    found: dict[str, float] = {}
    try:
        with without_trace():
            double = model_copy(network)
            for path in paths:
                double.get_submodule(path).register_forward_pre_hook(_noting(path, found))
            fed(double, inputs)
    except Exception as fault:  # the user's forward may raise anything
        raise misfit(network, fault) from fault
    for path, length in found.items():
        if not (math.isfinite(length) and length > 0.0):
            raise NotApplicable(f"critical-init: the inputs of {path!r} have the mean square {length}; pass a batch of real inputs")
    return found


def _noting(path: str, found: dict[str, float]) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        del module
        signal = args[0] if args else None
        if isinstance(signal, Tensor):
            found.setdefault(path, float(signal.double().square().mean()))

    return hook
