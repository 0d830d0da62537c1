"""Attribution against an enumeration of every path of small random graphs."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from unvanish.tracing.decade_attribution import Attribution, Edge, GradientSizes, Port, attribute, joint_log10_rms

EXACT = 1e-10


@dataclass
class Case:
    sizes: GradientSizes
    targets: list[Port]
    sources: dict[Port, float]


@dataclass
class Path:
    """One walk from a target to a source: its probability, and what it passed in order."""

    probability: float
    tensors: list[Port] = field(default_factory=list)
    edges: list[tuple[Edge, Port]] = field(default_factory=list)  # with the output by which the walk goes on
    source: Port = (0, 0)


def random_case(seed: int, *, outputs: int = 2, targets: int = 1, sources: int = 1) -> Case:
    """A connected graph of at most nine nodes. Where several contributions meet, their total may be any number at all."""
    draw = random.Random(seed)
    nodes = draw.randint(2, 6)
    ports = [(node, number) for node in range(nodes) for number in range(draw.randint(1, outputs) if node else 1)]
    ports += [(nodes + i, 0) for i in range(targets)]
    consumers: dict[Port, list[Edge]] = {}
    slots: dict[int, int] = {}
    for port in ports[1:]:
        for consumer in [draw.randrange(min(port[0], nodes)) for _ in range(draw.randint(1, 3))]:
            consumers.setdefault(port, []).append((consumer, slots.get(consumer, 0)))
            slots[consumer] = slots.get(consumer, 0) + 1
    producers = {edge: port for port, edges in consumers.items() for edge in edges}
    entered = {port: draw.uniform(-4.0, 4.0) for port in [ports[0], *draw.sample(ports[1:], sources - 1)]}
    contributions = {edge: draw.uniform(-4.0, 4.0) for edge in producers}
    totals: dict[Port, float] = {}
    for port in ports:
        parts = [contributions[edge] for edge in consumers.get(port, ())] + ([entered[port]] if port in entered else [])
        totals[port] = parts[0] if len(parts) == 1 else draw.uniform(-4.0, 4.0)
    elements = {port: draw.randint(1, 50) for port in ports}
    return Case(GradientSizes(contributions, totals, elements, consumers, producers), ports[len(ports) - targets :], entered)


def energy(size: float, elements: int = 1) -> float:
    return elements * 10.0 ** (2.0 * size)


def all_paths(case: Case) -> Iterator[Path]:
    weights = [energy(case.sizes.totals[port], case.sizes.elements[port]) for port in case.targets]
    for port, weight in zip(case.targets, weights, strict=True):
        yield from onward(case, port, Path(weight / sum(weights)))


def onward(case: Case, port: Port, path: Path) -> Iterator[Path]:
    sizes = case.sizes
    parts = [energy(sizes.contributions[edge]) for edge in sizes.consumers.get(port, ())]
    own = energy(case.sources[port]) if port in case.sources else 0.0
    total = sum(parts) + own
    if own:
        yield Path(path.probability * own / total, [*path.tensors, port], path.edges, port)
    for edge, part in zip(sizes.consumers.get(port, ()), parts, strict=True):
        outputs = [p for p in sizes.totals if p[0] == edge[0]]
        weights = [energy(sizes.totals[p], sizes.elements[p]) for p in outputs]
        for output, weight in zip(outputs, weights, strict=True):
            probability = path.probability * part / total * weight / sum(weights)
            yield from onward(case, output, Path(probability, [*path.tensors, port], [*path.edges, (edge, output)]))


def by_enumeration(case: Case) -> Attribution:
    """Every term as an expectation over the paths."""
    sizes = case.sizes
    entering = joint_log10_rms([(size, sizes.elements[port]) for port, size in case.sources.items()])
    arrived = joint_log10_rms([(sizes.totals[port], sizes.elements[port]) for port in case.targets])
    result = Attribution(arrived - entering, entering)
    tensors: dict[Port, float] = {}
    for path in all_paths(case):
        for edge, output in path.edges:
            node, inner = edge[0], 0.5 * math.log10(sizes.elements[sizes.producers[edge]] / sizes.elements[output])
            gain = sizes.contributions[edge] - sizes.totals[output]
            result.nodes[node] = result.nodes.get(node, 0.0) + path.probability * (gain + inner)
            result.sizes[node] = result.sizes.get(node, 0.0) - path.probability * inner
            result.visits[node] = result.visits.get(node, 0.0) + path.probability
        for tensor in path.tensors:
            tensors[tensor] = tensors.get(tensor, 0.0) + path.probability
        result.ends += path.probability * (arrived - sizes.totals[path.tensors[0]] + case.sources[path.source] - entering)
    for port, visits in tensors.items():
        parts = [sizes.contributions[edge] for edge in sizes.consumers.get(port, ())]
        parts += [case.sources[port]] if port in case.sources else []
        if len(parts) > 1:
            shares = [energy(part) / sum(map(energy, parts)) for part in parts]
            split = -0.5 * sum(share * math.log10(share) for share in shares)
            mean = sum(share * part for share, part in zip(shares, parts, strict=True))
            result.junctions[port] = (visits, visits * split, visits * (sizes.totals[port] - mean - split))
    return result


def terms(result: Attribution) -> float:
    junctions = sum(split + interference for _, split, interference in result.junctions.values())
    return sum(result.nodes.values()) + sum(result.sizes.values()) + junctions + result.ends


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 1), (2, 3, 1), (2, 2, 3)])
@pytest.mark.parametrize("seed", range(12))
def test_terms_are_averages_over_all_paths_and_add_up(seed: int, shape: tuple[int, int, int]) -> None:
    outputs, targets, sources = shape
    case = random_case(seed, outputs=outputs, targets=targets, sources=sources if seed > 3 else 1)
    result, expected = attribute(case.sizes, case.targets, case.sources), by_enumeration(case)
    assert result.total == pytest.approx(expected.total, abs=EXACT)
    assert terms(result) == pytest.approx(result.total, abs=EXACT)
    assert terms(expected) == pytest.approx(result.total, abs=EXACT)
    assert result.nodes == pytest.approx(expected.nodes, abs=EXACT)
    assert result.sizes == pytest.approx(expected.sizes, abs=EXACT)
    assert result.visits == pytest.approx(expected.visits, abs=EXACT)
    assert result.ends == pytest.approx(expected.ends, abs=EXACT)
    assert result.junctions.keys() == expected.junctions.keys()
    for port, junction in result.junctions.items():
        assert junction == pytest.approx(expected.junctions[port], abs=EXACT)
        assert junction[1] >= 0.0


def test_probabilities_of_the_paths_add_up_to_one() -> None:
    for seed in range(20):
        assert sum(path.probability for path in all_paths(random_case(seed, targets=2))) == pytest.approx(1.0, abs=EXACT)


def test_sizes_beyond_the_range_of_floats_are_attributed_as_well() -> None:
    """Shifting the whole graph by a thousand decades changes no share."""
    case = random_case(5, targets=2)
    far = GradientSizes(
        {edge: size - 1000.0 for edge, size in case.sizes.contributions.items()},
        {port: size - 1000.0 for port, size in case.sizes.totals.items()},
        case.sizes.elements,
        case.sizes.consumers,
        case.sizes.producers,
    )
    near = attribute(case.sizes, case.targets, case.sources)
    result = attribute(far, case.targets, {port: size - 1000.0 for port, size in case.sources.items()})
    assert result.nodes == pytest.approx(near.nodes, abs=1e-9)
    assert result.total == pytest.approx(near.total, abs=1e-9)


def test_in_a_chain_of_two_each_operation_has_its_own_gain() -> None:
    consumers = {(1, 0): [(0, 0)], (2, 0): [(1, 0)]}
    producers = {(0, 0): (1, 0), (1, 0): (2, 0)}
    sizes = GradientSizes(
        {(0, 0): -1.0, (1, 0): -3.5},
        {(0, 0): 0.0, (1, 0): -1.0, (2, 0): -3.5},
        {(0, 0): 1, (1, 0): 100, (2, 0): 1},
        consumers,
        producers,
    )
    result = attribute(sizes, [(2, 0)], {(0, 0): 0.0})
    assert result.total == -3.5
    assert result.nodes == pytest.approx({0: 0.0, 1: -3.5})
    assert result.sizes == pytest.approx({0: -1.0, 1: 1.0})


def test_a_node_that_sends_no_gradient_on_takes_all_decades() -> None:
    consumers = {(1, 0): [(0, 0)], (2, 0): [(1, 0)]}
    producers = {(0, 0): (1, 0), (1, 0): (2, 0)}
    sizes = GradientSizes(
        {(0, 0): 0.0, (1, 0): -math.inf},
        {(0, 0): 0.0, (1, 0): 0.0, (2, 0): -math.inf},
        dict.fromkeys([(0, 0), (1, 0), (2, 0)], 1),
        consumers,
        producers,
    )
    result = attribute(sizes, [(2, 0)], {(0, 0): 0.0})
    assert result.total == -math.inf
    assert result.nodes == {1: -math.inf}


def test_the_joint_rms_of_tensors_is_that_of_all_their_elements() -> None:
    assert joint_log10_rms([(2.0, 3)]) == pytest.approx(2.0)
    assert joint_log10_rms([(0.0, 1), (-400.0, 3)]) == pytest.approx(-0.5 * math.log10(4))
    assert joint_log10_rms([(-math.inf, 5), (-math.inf, 1)]) == -math.inf
    assert joint_log10_rms([]) == -math.inf
