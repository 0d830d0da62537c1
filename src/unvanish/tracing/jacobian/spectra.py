"""What else is worth a look in a network: which of its weights are orthogonal, and how its Jacobian stretches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.errors import UnvanishError
from unvanish.record.flow import GradientFlow
from unvanish.record.spectrum import JacobianSpectrum
from unvanish.tracing.jacobian.singular_values import jacobian_spectrum
from unvanish.tracing.preserved_state import preserved_state

SAME = 0.05  # share of a random vector's image that is turned: 0 for an orthogonal matrix, about 0.7 for a square Gaussian one
FEWEST_SIDES = 4  # in fewer dimensions a random vector may be kept by chance
SHOWN = 4  # layers besides the output
LARGEST_WORK = 20_000  # operations run backwards, some ten microseconds each in a small network: about a second


def with_orthogonality(flow: GradientFlow, model: nn.Module) -> GradientFlow:
    """The flow, whose parameters say whether they are orthogonal."""
    names = orthogonal_weights(model)
    return replace(flow, parameters=tuple(replace(each, orthogonal=each.name in names) for each in flow.parameters))


@torch.no_grad()
def orthogonal_weights(model: nn.Module) -> frozenset[str]:
    """The names of the weights whose singular values are all alike, seen as matrices of shape (outputs, inputs).

    Cost: two products of a vector with each, from a random generator of its own.
    """
    return frozenset(name for name, weight in model.named_parameters() if weight.dim() > 1 and _is_orthogonal(weight.flatten(1)))


def spectra(model: nn.Module, inputs: Any, flow: GradientFlow) -> tuple[JacobianSpectrum, ...]:
    """The Jacobians of some layers and of the output by the input, exactly, for the first example; nothing where that is much work.

    It is a picture beside the diagnosis, so what cannot be measured is left out.
    """
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        return ()
    layers = list(dict.fromkeys(op.path for op in flow.ops if op.kind == "weight" and op.visits and op.path == op.label))
    chosen = [layers[i * (len(layers) - 1) // SHOWN] for i in range(SHOWN)] if len(layers) > SHOWN else layers[:-1]
    sides = _outputs(model, inputs, [*chosen, ""])
    mixed = any("batchnorm" in op.op or "batch_norm" in op.op for op in flow.ops)  # one example's Jacobian takes the whole batch
    found: dict[str, JacobianSpectrum] = {}
    work = 0
    for layer in ("", *chosen):
        side = min(sides.get(layer, LARGEST_WORK), inputs[0].numel())
        work += side * len(flow.ops) * (len(inputs) if mixed else 1)
        if work > LARGEST_WORK:
            break
        if side > 1:  # a single singular value makes no spectrum
            with suppress(UnvanishError):
                found[layer] = jacobian_spectrum(model, inputs, layer=layer)
    return tuple(found[layer] for layer in (*chosen, "") if layer in found)


def _outputs(model: nn.Module, inputs: Tensor, layers: Sequence[str]) -> dict[str, int]:
    """How many numbers each layer gives for one example."""
    sizes: dict[str, int] = {}

    def keep(layer: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim():
                sizes[layer] = output.numel() // len(inputs)

        return hook

    with ExitStack() as hooks, preserved_state(model), torch.no_grad():
        for layer in layers:
            handle = model.get_submodule(layer).register_forward_hook(keep(layer))
            hooks.callback(handle.remove)
        model(inputs.clone())
    return sizes


def _is_orthogonal(matrix: Tensor) -> bool:
    """Whether W W^T (on its smaller side) turns no vector, to within SAME; a Gaussian matrix turns any by a right angle or so."""
    small = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    if len(small) < FEWEST_SIDES:
        return False
    draw = torch.Generator().manual_seed(0)
    probe = torch.randn(len(small), generator=draw).to(small)
    image = small @ (small.T @ probe)
    kept = torch.dot(probe, image) / torch.dot(probe, probe)
    return bool(kept > 0) and float(torch.linalg.vector_norm(image - kept * probe) / torch.linalg.vector_norm(image)) < SAME
