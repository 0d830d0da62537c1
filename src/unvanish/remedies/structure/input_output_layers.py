"""Which layers stand at a network's input, and which weights lie between its ends. It alters nothing."""

from __future__ import annotations

from collections import deque

from torch import nn

from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.graph.kinds import WEIGHTED, Kind

_STOPS = (Kind.WEIGHT, Kind.NORMALISATION, Kind.ACTIVATION)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def at_input(layout: ForwardGraph) -> tuple[int, ...]:
    """The positions of the layers, normalisations and activations that the network's input reaches with none of them before.

    Where the forward pass could not be traced, the first of them in order.
    """
    if not layout.traced:
        return tuple(at for at, step in enumerate(layout.steps) if step.kind in _STOPS)[:1]
    queue = deque(at for at, step in enumerate(layout.steps) if step.op == "placeholder")
    seen, found = set(queue), set[int]()
    while queue:
        for consumer in layout.consumers[queue.popleft()]:
            if consumer in seen:
                continue
            seen.add(consumer)
            if layout.steps[consumer].kind in _STOPS:
                found.add(consumer)
            else:
                queue.append(consumer)
    return tuple(sorted(found))


def at_output(layout: ForwardGraph) -> tuple[int, ...]:
    """The positions of the layers after which there is no other."""
    return tuple(at for at, step in enumerate(layout.steps) if step.kind is Kind.WEIGHT and not layout.hidden[at])


def hidden_weights(network: nn.Module, layout: ForwardGraph) -> tuple[nn.Parameter, ...]:
    """The trainable weights of Linear and Conv layers that are neither at the input nor at the output, in order of registration.

    Not among them: kernels of grouped and transposed convolutions, which are no matrix from inputs to outputs, and weights that
    other modules share, such as an embedding.
    """
    ends = {*at_input(layout), *at_output(layout)}
    paths = dict(network.named_modules(remove_duplicate=False))
    foreign = {id(p) for m in paths.values() if not isinstance(m, WEIGHTED) for p in m.parameters(recurse=False)}
    found: dict[int, nn.Parameter] = {}
    for path, layer in paths.items():
        if not isinstance(layer, WEIGHTED):
            continue
        weight = dict(layer.named_parameters(recurse=False)).get("weight")
        grouped = isinstance(layer, _TRANSPOSED) or (not isinstance(layer, nn.Linear) and layer.groups > 1)
        if weight is None or not weight.requires_grad or weight.is_complex() or id(weight) in foreign:
            continue
        where = _where(path, paths, layout)
        if grouped or not where or not ends.isdisjoint(where):
            foreign.add(id(weight))  # also where another layer shares it
            found.pop(id(weight), None)
        else:
            found[id(weight)] = weight
    return tuple(found.values())


def _where(path: str, paths: dict[str, nn.Module], layout: ForwardGraph) -> tuple[int, ...]:
    """The positions of a module, or of the nearest one around it that runs as one operation."""
    while path:
        if positions := layout.positions(paths[path]):
            return positions
        path = path.rpartition(".")[0]
    return ()
