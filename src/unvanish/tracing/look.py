"""What else is worth a look in a network: which of its weights are orthogonal, and how its Jacobian stretches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.errors import UnvanishError
from unvanish.record.flow import GradientFlow
from unvanish.record.spectrum import JacobianSpectrum
from unvanish.tracing.calm import calm
from unvanish.tracing.spectrum import jacobian_spectrum

LARGEST_SIDE = 2048  # a matrix of that many rows is multiplied with itself in a tenth of a second
SAME = 0.05  # relative spread of squared singular values: 0 for an orthogonal matrix, about 1 for a square Gaussian one
SHOWN = 4  # layers besides the output
LARGEST_WORK = 20_000  # operations run backwards, some ten microseconds each in a small network: about a second


@torch.no_grad()
def orthogonal_weights(model: nn.Module) -> frozenset[str]:
    """The names of the weights whose singular values are all alike, seen as matrices of shape (outputs, inputs)."""
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
    found: dict[str, JacobianSpectrum] = {}
    work = 0
    for layer in ("", *chosen):
        side = min(sides.get(layer, LARGEST_WORK), inputs[0].numel())
        work += side * len(flow.ops)
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

    with ExitStack() as hooks, calm(model), torch.no_grad():
        for layer in layers:
            handle = model.get_submodule(layer).register_forward_hook(keep(layer))
            hooks.callback(handle.remove)
        model(inputs.clone())
    return sizes


def _is_orthogonal(matrix: Tensor) -> bool:
    rows, columns = matrix.shape
    if min(rows, columns) < 2 or max(rows, columns) > LARGEST_SIDE:
        return False
    small = matrix if rows <= columns else matrix.T
    gram = (small @ small.T).double()
    mean = gram.trace() / len(gram)
    return bool(mean > 0) and float((gram @ gram).trace() / len(gram) / mean**2) - 1.0 < SAME
