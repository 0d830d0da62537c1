"""Says which weights of a network are orthogonal, and gives the singular values of its Jacobians at a few layers and the output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unvanish.errors import UnvanishError
from unvanish.record.gradient_flow import GradientFlow
from unvanish.record.jacobian_spectrum import JacobianSpectrum
from unvanish.tracing.jacobian.singular_values import jacobian_spectrum
from unvanish.tracing.preserved_state import preserved_state

# Share of a random vector's image that is turned: 0 for an orthogonal matrix, about 0.7 for a square Gaussian one.
ORTHOGONAL_TOLERANCE = 0.05
MIN_ORTHOGONAL_SIDE = 4  # in fewer dimensions a random vector may be kept by chance
MAX_HIDDEN_LAYERS = 4
MAX_OPERATIONS = 20_000  # run backwards, some ten microseconds each in a small network: about a second


def with_orthogonality(flow: GradientFlow, model: nn.Module) -> GradientFlow:
    """The flow with the `orthogonal` field of its parameters filled in."""
    names = orthogonal_weights(model)
    parameters = (replace(parameter, orthogonal=parameter.name in names) for parameter in flow.parameters)
    return replace(flow, parameters=tuple(parameters))


@torch.no_grad()
def orthogonal_weights(model: nn.Module) -> frozenset[str]:
    """The names of the weights whose singular values are all alike, as matrices of shape (outputs, inputs).

    Cost: two products of a vector with each, from a random generator of its own.

    Example:
        >>> model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
        >>> _ = nn.init.orthogonal_(model[1].weight)
        >>> sorted(orthogonal_weights(model))
        ['1.weight']
    """
    return frozenset(name for name, weight in model.named_parameters() if weight.dim() > 1 and _is_orthogonal(weight.flatten(1)))


def spectra(model: nn.Module, inputs: Any, flow: GradientFlow) -> tuple[JacobianSpectrum, ...]:
    """The singular values of the Jacobians of up to four weighted layers and of the output by the input, at the first example.

    They come in the order of the forward pass, the output last. A Jacobian is left out where it would take more than about a
    second, where it has a single singular value, and where it cannot be measured. The network is left as it was.

    Arguments:
        model: the network.
        inputs: one batch, a floating-point tensor of shape (batch, ...); for anything else the result is empty.
        flow: the network's traced flow, which names its layers.

    Example:
        >>> from unvanish.tracing.tracer import trace
        >>> model, inputs = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 2, bias=False)), torch.randn(8, 3)
        >>> hidden, output = spectra(model, inputs, trace(model, inputs, torch.zeros(8, 2)))
        >>> (hidden.layer, hidden.rows, hidden.columns), (output.layer, output.rows, output.columns)
        (('0', 3, 3), ('', 2, 3))
        >>> largest = torch.linalg.svdvals(model[0].weight)[0].log10().item()
        >>> abs(hidden.log10_largest - largest) < 1e-5
        True
    """
    if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
        return ()
    layers = list(dict.fromkeys(op.path for op in flow.ops if op.kind == "weight" and op.visits and op.path == op.label))
    hidden = layers[:-1]
    if len(layers) > MAX_HIDDEN_LAYERS:
        hidden = [layers[i * (len(layers) - 1) // MAX_HIDDEN_LAYERS] for i in range(MAX_HIDDEN_LAYERS)]
    output_sizes = _output_sizes(model, inputs, [*hidden, ""])
    # Where examples influence each other, one example's Jacobian takes the whole batch.
    couples_examples = any("batchnorm" in op.op or "batch_norm" in op.op for op in flow.ops)
    spectrum_of: dict[str, JacobianSpectrum] = {}
    operations = 0
    for layer in ("", *hidden):
        side = min(output_sizes.get(layer, MAX_OPERATIONS), inputs[0].numel())
        operations += side * len(flow.ops) * (len(inputs) if couples_examples else 1)
        if operations > MAX_OPERATIONS:
            break
        if side > 1:  # a single singular value makes no spectrum
            with suppress(UnvanishError):
                spectrum_of[layer] = jacobian_spectrum(model, inputs, layer=layer)
    return tuple(spectrum_of[layer] for layer in (*hidden, "") if layer in spectrum_of)


def _output_sizes(model: nn.Module, inputs: Tensor, layers: Sequence[str]) -> dict[str, int]:
    """How many numbers each layer returns for one example; layers that return no tensor are left out."""
    sizes: dict[str, int] = {}

    def size_hook(layer: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim():
                sizes[layer] = output.numel() // len(inputs)

        return hook

    with ExitStack() as stack, preserved_state(model), torch.no_grad():
        for layer in layers:
            handle = model.get_submodule(layer).register_forward_hook(size_hook(layer))
            stack.callback(handle.remove)
        model(inputs.clone())
    return sizes


def _is_orthogonal(matrix: Tensor) -> bool:
    """Whether W W^T (on its smaller side) turns no vector, within the tolerance. A Gaussian one turns any by about 90 degrees."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T  # (rows, columns), rows <= columns
    if len(wide) < MIN_ORTHOGONAL_SIDE:
        return False
    generator = torch.Generator().manual_seed(0)
    probe = torch.randn(len(wide), generator=generator).to(wide)  # (rows,)
    image = wide @ (wide.T @ probe)  # (rows,)
    stretch = torch.dot(probe, image) / torch.dot(probe, probe)
    turned = torch.linalg.vector_norm(image - stretch * probe) / torch.linalg.vector_norm(image)
    return bool(stretch > 0) and float(turned) < ORTHOGONAL_TOLERANCE
