"""Residual sums: where a skip and a branch come together again. It finds them in a layout, and alters nothing."""

from __future__ import annotations

from dataclasses import dataclass

from unvanish.remedies.kinds import Kind
from unvanish.remedies.layout import Layout


@dataclass(frozen=True, slots=True)
class ResidualSum:
    """One addition of two signals of which one is computed from the other, or both from a third.

    `total` is the position of the addition, `end` that of the branch's last step, and `inside` those of all its steps. `plain`
    tells a skip that is the branch's own input from one with weights of its own (a projection).
    """

    total: int
    end: int
    inside: frozenset[int]
    plain: bool


def residual_sums(layout: Layout) -> tuple[ResidualSum, ...]:
    """The residual sums in order. A branch has a weighted layer; of two paths with weights the one with more is the branch."""
    found = [_sum(total, layout) for total, step in enumerate(layout.steps) if step.op in ("add", "iadd")]
    return tuple(each for each in found if each is not None)


def _sum(total: int, layout: Layout) -> ResidualSum | None:
    terms = layout.steps[total].sources
    if len(terms) != 2:
        return None
    for skip, end in (terms, terms[::-1]):
        inside = _between(skip, end, layout)
        if _weights(inside, layout):
            return ResidualSum(total, end, inside, plain=True)
    fork = _fork(*terms, layout)
    if fork is None:
        return None
    paths = sorted(((end, _between(fork, end, layout)) for end in terms), key=lambda path: _weights(path[1], layout))
    (_, shorter), (end, inside) = paths
    return ResidualSum(total, end, inside, plain=not _weights(shorter, layout)) if _weights(inside, layout) else None


def _between(start: int, end: int, layout: Layout) -> frozenset[int]:
    """The steps on the ways from one step to a later one, the first aside; none where no way leads there."""
    ahead: set[int] = set()
    for position in range(start + 1, end + 1):
        if any(source == start or source in ahead for source in layout.steps[position].sources):
            ahead.add(position)
    if end not in ahead:
        return frozenset()
    behind: set[int] = set()
    queue = [end]
    while queue:
        position = queue.pop()
        if position in ahead and position not in behind:
            behind.add(position)
            queue.extend(layout.steps[position].sources)
    return frozenset(behind)


def _fork(one: int, two: int, layout: Layout) -> int | None:
    """The last step that both of two others are computed from."""
    common = _ancestors(one, layout) & _ancestors(two, layout)
    return max(common, default=None)


def _ancestors(position: int, layout: Layout) -> set[int]:
    seen: set[int] = set()
    queue = list(layout.steps[position].sources)
    while queue:
        here = queue.pop()
        if here not in seen:
            seen.add(here)
            queue.extend(layout.steps[here].sources)
    return seen


def _weights(inside: frozenset[int], layout: Layout) -> int:
    return sum(layout.steps[position].kind is Kind.WEIGHT for position in inside)
