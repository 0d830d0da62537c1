"""Attributes the decades of a gradient to operations: an average over all paths, each weighted with the energy that came along it.

From a target tensor one walks at random towards the loss: at a tensor with several consumers to consumer i with probability p_i,
its share of the energy that they contributed; at an operation with several outputs to one of them by energy likewise. Along every
path the gains multiply to the whole, so any average over paths does; on a chain it is the plain gain of each operation. Pure
arithmetic on sizes in decades (log10); never imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Port = tuple[int, int]  # node, output number
Edge = tuple[int, int]  # consumer, place among its inputs
# Decades by which a tensor's gradient may miss the only contribution to it, from rounding; beyond, a hook has changed it.
PASSED_ON_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class GradientSizes:
    """The sizes of a backward pass.

    `contributions` is log10 RMS of what each edge carries, `totals` that of the gradient of each tensor, `elements` the number of
    elements of each tensor. `consumers` are the edges into the nodes that use a tensor, `producers` the tensor of each edge. Nodes
    are numbered so that consumers come before producers.
    """

    contributions: Mapping[Edge, float]
    totals: Mapping[Port, float]
    elements: Mapping[Port, int]
    consumers: Mapping[Port, Sequence[Edge]]
    producers: Mapping[Edge, Port]

    def log10_norm_over_rms(self, port: Port) -> float:
        """log10 of a tensor's Euclidean norm over its RMS."""
        return 0.5 * math.log10(self.elements[port])


@dataclass(slots=True)
class Attribution:
    """The terms, in decades of RMS, which add up to `total`: by node, by tensor with several consumers, and at the ends.

    `entering` is log10 of the RMS that enters, over all sources. `nodes` has what each node did to the gradient's Euclidean norm,
    `sizes` the rest of its gain: the same norm over another number of elements. `visits` is the probability that the walk passes a
    node, `junctions` maps a tensor to (its visits, split, interference). `ends` is the term of several sources or targets.
    """

    total: float
    entering: float
    nodes: dict[int, float] = field(default_factory=dict[int, float])
    sizes: dict[int, float] = field(default_factory=dict[int, float])
    visits: dict[int, float] = field(default_factory=dict[int, float])
    junctions: dict[Port, tuple[float, float, float]] = field(default_factory=dict[Port, tuple[float, float, float]])
    ends: float = 0.0


def attribute(sizes: GradientSizes, targets: Sequence[Port], sources: Mapping[Port, float]) -> Attribution:
    """The decades between `sources` and `targets`, attributed to nodes, junctions and ends.

    `sources` gives, by tensor, the log10 RMS with which the gradient enters there from outside; the walk ends where it would go
    outside. Where no gradient arrives the total is -inf, and so is the term of every operation that received a gradient and
    sent none towards the targets.

    Example:
        A chain of two operations, 0 and 1, of which the second shrinks the gradient by half a decade:

        >>> sizes = GradientSizes(
        ...     contributions={(0, 0): -1.0, (1, 0): -1.5},
        ...     totals={(0, 0): 0.0, (1, 0): -1.0, (2, 0): -1.5},
        ...     elements={(0, 0): 1, (1, 0): 1, (2, 0): 1},
        ...     consumers={(1, 0): [(0, 0)], (2, 0): [(1, 0)]},
        ...     producers={(0, 0): (1, 0), (1, 0): (2, 0)},
        ... )
        >>> result = attribute(sizes, targets=[(2, 0)], sources={(0, 0): 0.0})
        >>> result.total, result.nodes
        (-1.5, {1: -0.5, 0: -1.0})
    """
    entering = joint_log10_rms([(size, sizes.elements[port]) for port, size in sources.items()])
    arriving = [(sizes.totals[port], sizes.elements[port]) for port in targets if port in sizes.totals]
    arrived = joint_log10_rms(arriving)
    result = Attribution(arrived - entering, entering)
    if not math.isfinite(arrived) or not math.isfinite(entering):
        for node in _blocking_nodes(sizes, targets):
            result.nodes[node], result.visits[node] = -math.inf, 1.0
        return result
    tensors: dict[Port, float] = {}
    edges: dict[Edge, float] = {}
    for port in targets:
        if (size := sizes.totals.get(port, -math.inf)) > -math.inf:
            tensors[port] = 10.0 ** (2.0 * (size - arrived)) * sizes.elements[port] / sum(n for _, n in arriving)
            result.ends -= tensors[port] * size
    result.ends += arrived
    _visit_nodes(sizes, sources, tensors, edges, result)
    return result


def _visit_nodes(
    sizes: GradientSizes, sources: Mapping[Port, float], tensors: dict[Port, float], edges: dict[Edge, float], result: Attribution
) -> None:
    """Visits every tensor and node once, producers before consumers, and adds their terms to the result."""
    outputs: dict[int, list[Port]] = {}
    for port in sizes.totals:
        outputs.setdefault(port[0], []).append(port)
    arrivals: dict[int, list[Edge]] = {}
    for port in tensors:
        outputs.setdefault(port[0], [])
    for node in sorted(outputs, reverse=True):
        incoming = arrivals.pop(node, [])
        visits = sum(edges[edge] for edge in incoming)
        if visits:
            result.visits[node] = visits
            _attribute_node(sizes, outputs[node], incoming, visits, tensors, edges, result, node)
        for port in outputs[node]:
            if port in tensors:
                _attribute_tensor(sizes, sources, port, tensors[port], edges, arrivals, result)


def _attribute_node(
    sizes: GradientSizes,
    ports: list[Port],
    incoming: list[Edge],
    visits: float,
    tensors: dict[Port, float],
    edges: dict[Edge, float],
    result: Attribution,
    node: int,
) -> None:
    """Walks on to the node's outputs, by energy; its term is what it sent, on average, over what it received."""
    energies = _energy_shares([(sizes.totals[port], sizes.elements[port]) for port in ports])
    term = sum(edges[edge] * sizes.contributions[edge] for edge in incoming)
    spread = sum(edges[edge] * sizes.log10_norm_over_rms(sizes.producers[edge]) for edge in incoming)
    for port, share in zip(ports, energies, strict=True):
        if share:
            term -= visits * share * sizes.totals[port]
            spread -= visits * share * sizes.log10_norm_over_rms(port)
            tensors[port] = tensors.get(port, 0.0) + visits * share
    result.nodes[node], result.sizes[node] = term + spread, -spread


def _attribute_tensor(
    sizes: GradientSizes,
    sources: Mapping[Port, float],
    port: Port,
    visits: float,
    edges: dict[Edge, float],
    arrivals: dict[int, list[Edge]],
    result: Attribution,
) -> None:
    """Walks on to the tensor's consumers, by the energy of what each contributed; or out, where the gradient came from outside.

    What a hook did to the total is part of the interference, and all of it where there is one contribution only.
    """
    contributions = [(edge, sizes.contributions[edge]) for edge in sizes.consumers.get(port, ()) if edge in sizes.contributions]
    parts = [size for _, size in contributions] + ([sources[port]] if port in sources else [])
    shares = _energy_shares([(size, 1) for size in parts])
    if len(parts) > 1 or (parts and abs(sizes.totals[port] - parts[0]) > PASSED_ON_TOLERANCE):
        split = 0.5 * -sum(share * math.log10(share) for share in shares if share)
        mean = sum(share * size for share, size in zip(shares, parts, strict=True) if share)
        interference = sizes.totals[port] - mean - split
        result.junctions[port] = (visits, visits * split, visits * interference)
    for (edge, _), share in zip(contributions, shares, strict=False):
        if share:
            edges[edge] = visits * share
            arrivals.setdefault(edge[0], []).append(edge)
    if port in sources:
        result.ends += visits * shares[-1] * (sources[port] - result.entering)


def joint_log10_rms(parts: Sequence[tuple[float, int]]) -> float:
    """log10 RMS over all elements of several tensors, each given as (log10 RMS, number of elements); -inf for none.

    Example:
        >>> joint_log10_rms([(2.0, 5), (2.0, 3)])
        2.0
    """
    elements = sum(count for _, count in parts)
    top = max((size for size, _ in parts), default=-math.inf)
    if not math.isfinite(top):
        return top
    return top + 0.5 * math.log10(sum(count * 10.0 ** (2.0 * (size - top)) for size, count in parts) / elements)


def _energy_shares(parts: Sequence[tuple[float, int]]) -> list[float]:
    """Each part's share of the energy: elements times squared RMS, over their sum. Parts are (log10 RMS, elements)."""
    top = max((size for size, _ in parts), default=-math.inf)
    if not math.isfinite(top):
        return [0.0] * len(parts)
    energies = [count * 10.0 ** (2.0 * (size - top)) for size, count in parts]
    total = sum(energies)
    return [energy / total for energy in energies]


def _blocking_nodes(sizes: GradientSizes, targets: Sequence[Port]) -> list[int]:
    """Nodes that received a gradient and sent exactly none along an edge that leads to a target."""
    reached: set[Port] = set()
    stack = list(targets)
    blocking: list[int] = []
    outputs: dict[int, list[Port]] = {}
    for port in sizes.totals:
        outputs.setdefault(port[0], []).append(port)
    while stack:
        port = stack.pop()
        if port in reached:
            continue
        reached.add(port)
        for consumer, slot in sizes.consumers.get(port, ()):
            received = [p for p in outputs.get(consumer, ()) if sizes.totals[p] > -math.inf]
            if received and sizes.contributions.get((consumer, slot), -math.inf) == -math.inf:
                blocking.append(consumer)
            else:
                stack.extend(outputs.get(consumer, ()))
    return sorted(set(blocking))
