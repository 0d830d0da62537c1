"""Who took how many decades of a gradient: an average over all its paths, each weighted with the energy that came along it.

From a target tensor one walks at random towards the loss: at a tensor with several consumers to consumer i with probability p_i,
its share of the energy that they contributed; at an operation with several outputs to one of them by energy likewise. Along every
path the gains multiply to the whole, so any average over paths does; on a chain it is the plain gain of each operation. Pure
arithmetic on sizes, in decades; nothing here knows torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Port = tuple[int, int]  # node, output number
Edge = tuple[int, int]  # consumer, place among its inputs
# Decades by which a tensor's gradient may miss the only contribution to it, from rounding; beyond, somebody's hook has changed it.
HANDED_ON = 1e-9


@dataclass(frozen=True, slots=True)
class Sizes:
    """A backward pass in numbers: log10 RMS by edge and by tensor, elements by tensor, the consumers of every tensor, and the
    tensor of every edge.

    Nodes are numbered so that consumers come before producers.
    """

    contributions: Mapping[Edge, float]
    totals: Mapping[Port, float]
    elements: Mapping[Port, int]
    consumers: Mapping[Port, Sequence[Edge]]
    producers: Mapping[Edge, Port]

    def spread(self, port: Port) -> float:
        """log10 of a tensor's Euclidean norm over its RMS."""
        return 0.5 * math.log10(self.elements[port])


@dataclass(slots=True)
class Attribution:
    """The terms, in decades of RMS, which add up to `total`: by node, by tensor with several consumers, and at the ends.

    `nodes` has what each did to the gradient's Euclidean norm, `sizes` the rest of its gain: one length over another number of
    elements. `whole` is log10 of the RMS that enters, over all sources.

    `visits` is the probability that the walk passes a node, `junctions` maps a tensor to (its visits, split, interference).
    """

    total: float
    whole: float
    nodes: dict[int, float] = field(default_factory=dict[int, float])
    sizes: dict[int, float] = field(default_factory=dict[int, float])
    visits: dict[int, float] = field(default_factory=dict[int, float])
    junctions: dict[Port, tuple[float, float, float]] = field(default_factory=dict[Port, tuple[float, float, float]])
    ends: float = 0.0


def attribute(sizes: Sizes, targets: Sequence[Port], sources: Mapping[Port, float]) -> Attribution:
    """The gradient's way from `sources` to `targets` taken apart.

    `sources` gives, by tensor, the log10 RMS with which the gradient enters there from outside; the walk ends where it would go
    outside. Where no gradient arrives the total is -inf, and so is the term of every operation that was handed a gradient and
    sent none towards the targets.
    """
    whole = joint([(size, sizes.elements[port]) for port, size in sources.items()])
    arriving = [(sizes.totals[port], sizes.elements[port]) for port in targets if port in sizes.totals]
    arrived = joint(arriving)
    result = Attribution(arrived - whole, whole)
    if not math.isfinite(arrived) or not math.isfinite(whole):
        for node in _killers(sizes, targets):
            result.nodes[node], result.visits[node] = -math.inf, 1.0
        return result
    tensors: dict[Port, float] = {}
    edges: dict[Edge, float] = {}
    for port in targets:
        if (size := sizes.totals.get(port, -math.inf)) > -math.inf:
            tensors[port] = 10.0 ** (2.0 * (size - arrived)) * sizes.elements[port] / sum(n for _, n in arriving)
            result.ends -= tensors[port] * size
    result.ends += arrived
    _walk(sizes, sources, tensors, edges, result)
    return result


def _walk(
    sizes: Sizes, sources: Mapping[Port, float], tensors: dict[Port, float], edges: dict[Edge, float], result: Attribution
) -> None:
    """Visits every tensor and node once, producers before consumers, and books their terms."""
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
            _pass_node(sizes, outputs[node], incoming, visits, tensors, edges, result, node)
        for port in outputs[node]:
            if port in tensors:
                _pass_tensor(sizes, sources, port, tensors[port], edges, arrivals, result)


def _pass_node(
    sizes: Sizes,
    ports: list[Port],
    incoming: list[Edge],
    visits: float,
    tensors: dict[Port, float],
    edges: dict[Edge, float],
    result: Attribution,
    node: int,
) -> None:
    """On to the node's outputs, by energy; its term is what it sent, on average, over what it was given."""
    energies = _shares([(sizes.totals[port], sizes.elements[port]) for port in ports])
    term = sum(edges[edge] * sizes.contributions[edge] for edge in incoming)
    spread = sum(edges[edge] * sizes.spread(sizes.producers[edge]) for edge in incoming)
    for port, share in zip(ports, energies, strict=True):
        if share:
            term -= visits * share * sizes.totals[port]
            spread -= visits * share * sizes.spread(port)
            tensors[port] = tensors.get(port, 0.0) + visits * share
    result.nodes[node], result.sizes[node] = term + spread, -spread


def _pass_tensor(
    sizes: Sizes,
    sources: Mapping[Port, float],
    port: Port,
    visits: float,
    edges: dict[Edge, float],
    arrivals: dict[int, list[Edge]],
    result: Attribution,
) -> None:
    """On to the tensor's consumers, by the energy of what each contributed; or out, where the gradient came from outside.

    What a hook did to the total is part of the interference, and all of it where there is one contribution only.
    """
    parts = [(edge, sizes.contributions[edge]) for edge in sizes.consumers.get(port, ()) if edge in sizes.contributions]
    own = [size for _, size in parts] + ([sources[port]] if port in sources else [])
    shares = _shares([(size, 1) for size in own])
    if len(own) > 1 or (own and abs(sizes.totals[port] - own[0]) > HANDED_ON):
        split = 0.5 * -sum(share * math.log10(share) for share in shares if share)
        mean = sum(share * size for share, size in zip(shares, own, strict=True) if share)
        interference = sizes.totals[port] - mean - split
        result.junctions[port] = (visits, visits * split, visits * interference)
    for (edge, _), share in zip(parts, shares, strict=False):
        if share:
            edges[edge] = visits * share
            arrivals.setdefault(edge[0], []).append(edge)
    if port in sources:
        result.ends += visits * shares[-1] * (sources[port] - result.whole)


def joint(parts: Sequence[tuple[float, int]]) -> float:
    """log10 RMS over all elements of several tensors; -inf for none."""
    elements = sum(count for _, count in parts)
    top = max((size for size, _ in parts), default=-math.inf)
    if not math.isfinite(top):
        return top
    return top + 0.5 * math.log10(sum(count * 10.0 ** (2.0 * (size - top)) for size, count in parts) / elements)


def _shares(parts: Sequence[tuple[float, int]]) -> list[float]:
    """Shares of energy: elements times squared RMS, over their sum."""
    top = max((size for size, _ in parts), default=-math.inf)
    if not math.isfinite(top):
        return [0.0] * len(parts)
    energies = [count * 10.0 ** (2.0 * (size - top)) for size, count in parts]
    whole = sum(energies)
    return [energy / whole for energy in energies]


def _killers(sizes: Sizes, targets: Sequence[Port]) -> list[int]:
    """Nodes that were handed a gradient and sent exactly none along an edge that leads to a target."""
    reached: set[Port] = set()
    stack = list(targets)
    killers: list[int] = []
    outputs: dict[int, list[Port]] = {}
    for port in sizes.totals:
        outputs.setdefault(port[0], []).append(port)
    while stack:
        port = stack.pop()
        if port in reached:
            continue
        reached.add(port)
        for consumer, slot in sizes.consumers.get(port, ()):
            handed = [p for p in outputs.get(consumer, ()) if sizes.totals[p] > -math.inf]
            if handed and sizes.contributions.get((consumer, slot), -math.inf) == -math.inf:
                killers.append(consumer)
            else:
                stack.extend(outputs.get(consumer, ()))
    return sorted(set(killers))
