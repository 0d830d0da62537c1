"""Finds residual branches in a layout: what is added to a signal that also flows past. It alters nothing.

A sum of two signals that part from one is a residual sum where one way is a skip and the other, the branch, has weighted layers.
A skip has a route without weights, activations or products, or is a projection: one weighted layer, and nothing that bends.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unvanish.remedies.graph.forward_graph import PARAMETER, ForwardGraph
from unvanish.remedies.graph.kinds import Kind

_SUMS = frozenset({"add", "iadd"})
_BENDS = (Kind.WEIGHT, Kind.ACTIVATION, Kind.PRODUCT)
FARTHEST = 1000
"""How many steps are looked at to find where two signals part. In a loop written by hand they part at the very first input."""

_ONE, _OTHER = 1, 2
_BOTH = _ONE | _OTHER


@dataclass(frozen=True, slots=True)
class Branch:
    """One residual branch by positions in the layout: the sum, the last step of the branch, and all of its steps in order.

    `normalised` tells whether a normalisation is on the branch or takes the sum.
    """

    sum: int
    end: int
    steps: tuple[int, ...]
    normalised: bool

    def weights(self, layout: ForwardGraph) -> tuple[int, ...]:
        """The positions of the weighted layers on the branch."""
        return tuple(at for at in self.steps if layout.steps[at].kind is Kind.WEIGHT)


@dataclass(frozen=True, slots=True)
class _Way:
    """What lies between a point where signals part and their sum, on one side.

    `steps` are on this side alone, `bends` the fewest on any route, and `normalised` tells of all routes.
    """

    end: int
    steps: tuple[int, ...]
    bends: int
    normalised: bool


@dataclass(frozen=True, slots=True)
class _Parting:
    """Both ways from one point; `complete` where all of both signals comes from it."""

    ways: tuple[_Way, _Way]
    complete: bool


def residual_branches(layout: ForwardGraph) -> tuple[Branch, ...]:
    """The residual branches of a traced layout, in order of their sums.

    Cost: linear in the steps between parting and sum, of which FARTHEST at most are looked at.
    """
    return tuple(_found(layout)) if layout.traced else ()


def _found(layout: ForwardGraph) -> Iterator[Branch]:
    for position, step in enumerate(layout.steps):
        if step.op not in _SUMS or step.kind is not Kind.OTHER:
            continue
        signals = [source for source in step.sources if layout.steps[source].op != PARAMETER]
        if len(signals) != 2:
            continue
        way = next((way for parting in _partings(signals[0], signals[1], layout) if (way := _branch_of(parting, layout))), None)
        if way is not None:
            normalised = way.normalised or any(layout.steps[at].kind is Kind.NORMALISATION for at in layout.consumers[position])
            yield Branch(position, way.end, way.steps, normalised)


def _branch_of(parting: _Parting, layout: ForwardGraph) -> _Way | None:
    """The way past which the signal also flows as it is, or, where all of it comes from one point, through a projection alone."""
    for way, past in (parting.ways, parting.ways[::-1]):
        weighted = way.bends > 0 and any(layout.steps[at].kind is Kind.WEIGHT for at in way.steps)
        if weighted and (past.bends == 0 or (parting.complete and _is_projection(past, way, layout))):
            return way
    return None


def _partings(one: int, other: int, layout: ForwardGraph) -> Iterator[_Parting]:
    """The points from which a signal reaches both of two steps, the nearest first, with the ways from there.

    Walks back from both, latest step first, and stops at every step that both have passed while all that is left to visit
    belongs to one of them: another input of a branch, such as a mask, or a skip that began before.
    """
    sides = {one: _ONE}
    sides[other] = sides.get(other, 0) | _OTHER
    fewest = {(one, _ONE): 0, (other, _OTHER): 0}
    waiting = Counter(sides.values())
    queue = [-position for position in sides]
    heapq.heapify(queue)
    passed: list[int] = []
    while queue and len(passed) < FARTHEST:
        here = -heapq.heappop(queue)
        side, step = sides[here], layout.steps[here]
        waiting[side] -= 1
        if side == _BOTH and not waiting[_BOTH] and not (waiting[_ONE] and waiting[_OTHER]):
            first = _way(one, [(at, sides[at]) for at in passed], _ONE, fewest[here, _ONE], layout)
            second = _way(other, [(at, sides[at]) for at in passed], _OTHER, fewest[here, _OTHER], layout)
            yield _Parting((first, second), complete=not queue)
            if not queue:
                return
        passed.append(here)
        for source in step.sources:
            if layout.steps[source].op == PARAMETER:
                continue
            before = sides.get(source, 0)
            if not before:
                heapq.heappush(queue, -source)
            sides[source] = before | side
            waiting[before] -= 1
            waiting[before | side] += 1
            for each in (_ONE, _OTHER):
                if side & each:
                    bends = fewest[here, each] + (step.kind in _BENDS)
                    fewest[source, each] = min(bends, fewest.get((source, each), bends))


def _way(end: int, passed: Sequence[tuple[int, int]], side: int, bends: int, layout: ForwardGraph) -> _Way:
    alone = tuple(at for at, label in reversed(passed) if label == side)
    normalised = any(label & side and layout.steps[at].kind is Kind.NORMALISATION for at, label in passed)
    return _Way(end, alone, bends, normalised)


def _is_projection(past: _Way, way: _Way, layout: ForwardGraph) -> bool:
    """Whether one way is a single layer and nothing that bends, and the other more. Layers that run again are recurrence."""
    own = Counter(layout.steps[at].kind for at in past.steps)
    other = Counter(layout.steps[at].kind for at in way.steps)
    weights = [layout.steps[at].module for at in (*past.steps, *way.steps) if layout.steps[at].kind is Kind.WEIGHT]
    if any(module is not None and len(layout.positions(module)) > 1 for module in weights):
        return False
    alone = own[Kind.WEIGHT] == 1 and own[Kind.ACTIVATION] == own[Kind.PRODUCT] == 0
    return alone and other[Kind.WEIGHT] + other[Kind.ACTIVATION] > 1
