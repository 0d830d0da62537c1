"""Lists the terms of a traced gradient flow in decades, groups them into few lines, and sums them by operation and by kind.

Every grouping adds up to the flow's total. Sentences about the flow's end are here too, since terminal and page share them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from unvanish.record.gradient_flow import ENDS, ROOT, SIZE, FlowOp, GradientFlow, junction_terms
from unvanish.report.wording import locations

BISECTIONS = 60  # of the interval in which the group limit is sought; beyond this float64 has no more digits
LIMIT_SLACK = 1.25  # on that limit, so that neighbours that are nearly alike are grouped alike
MIN_SHARE = 0.02  # of the largest group: smaller ones are joined even where there is room for more
ROUNDING_DECADES = 1e-9  # decades that are only the rounding of a sum
RANGE_SEPARATOR = " … "  # between the first and the last name of a range, in the names of blocks too
MIN_NAME_WIDTH = 5  # characters of a name that can still be recognised
MULTIPLE_ENDS = "several outputs or inputs"


@dataclass(frozen=True, slots=True)
class FlowTerm:
    """One term of the total: an operation's own, that of a change of size, or one that arises where gradients are added.

    Arguments:
        label: the operation's label, or "split after net.1" and the like where gradients are added.
        kind: the kind of operation, such as "activation".
        op: the operation's name, such as "sigmoid".
        block: the block of the network that it belongs to.
        decades: log10 of the factor by which the gradient's RMS changes.
        source_line: "examples/net.py:21", "" where it is not known.
    """

    label: str
    kind: str
    op: str
    block: str
    decades: float
    source_line: str


@dataclass(frozen=True, slots=True)
class TermGroup:
    """One line of the waterfall: a block or operation, or several neighbours of them, its terms from the loss to the input.

    `noun` is what its members are called, "block" or "operation".
    """

    names: tuple[str, ...]
    noun: str
    decades: float
    terms: tuple[FlowTerm, ...]

    @property
    def member_count(self) -> int:
        """The number of blocks or operations in this group."""
        return len(self.names)

    def format_name(self, width: int) -> str:
        """The group's name in at most `width` characters, in the order of the forward pass: "net.4 … net.36 (9 blocks)".

        Where that is too long, the noun is left out first, then the middle of the names.
        """
        first, last = self.names[-1].split(RANGE_SEPARATOR)[0], self.names[0].split(RANGE_SEPARATOR)[-1]
        if first == last or (self.member_count == 1 and len(self.names[0]) <= width):
            return locations.shorten_label(self.names[0], width)
        count = f" ({self.member_count} {self.noun}s)" if self.member_count > 1 else ""
        if len(f"{first}{RANGE_SEPARATOR}{last}{count}") > width:
            count = f" ({self.member_count})" if self.member_count > 1 else ""
            room = width - len(count) - len(RANGE_SEPARATOR)
            first = locations.shorten_label(first, max(MIN_NAME_WIDTH, room // 2, room - len(last)))
            last = locations.shorten_label(last, max(MIN_NAME_WIDTH, room - len(first)))
        return f"{first}{RANGE_SEPARATOR}{last}{count}"


def list_terms(flow: GradientFlow) -> list[FlowTerm]:
    """Every term of the flow, from the loss back to the input; their decades add up to the total."""
    position = {op.label: float(op.order) for op in flow.ops}
    ranked = [(position[op.label], rank, term) for op in flow.ops if op.visits for rank, term in enumerate(_operation_terms(op))]
    for junction in flow.junctions:
        if junction.visits:
            # The tensor lies after its origin, so the backward pass reaches it first.
            order = position.get(junction.origin, -1.0) + 0.5
            for rank, (kind, decades) in enumerate(reversed(junction_terms(junction))):
                label = f"{kind} after {junction.origin}"
                ranked.append((order, rank, FlowTerm(label, kind, kind, junction.block or ROOT, decades, "")))
    ranked.sort(key=lambda entry: entry[:2], reverse=True)
    ordered = [term for _, _, term in ranked]
    if abs(flow.ends) > ROUNDING_DECADES:
        ordered.append(FlowTerm(MULTIPLE_ENDS, ENDS, ENDS, MULTIPLE_ENDS, flow.ends, ""))
    return ordered


def group_terms(flow: GradientFlow, max_groups: int) -> list[TermGroup]:
    """At most `max_groups` groups from the loss to the input: the blocks, or the operations of a network that is a single block.

    Where there are more, neighbours are merged so that no group is much larger than the others; what stands out stays alone.
    """
    terms = list_terms(flow)
    by_block = len({term.block for term in terms}) > 1
    members: dict[str, list[FlowTerm]] = {}
    for term in [*_terms_before_zero(flow), *terms]:
        members.setdefault(term.block if by_block else term.label, []).append(term)
    noun = "block" if by_block else "operation"
    single = [TermGroup((name,), noun, sum(t.decades for t in own), tuple(own)) for name, own in members.items()]
    return [_merge(neighbours) for neighbours in _group_neighbours(single, max_groups)]


def sum_by_operation(flow: GradientFlow) -> dict[str, float]:
    """The decades of every operation by its name ("sigmoid", "linear", "interference"), the largest in size first."""
    sums: dict[str, float] = {}
    for term in list_terms(flow):
        sums[term.op] = sums.get(term.op, 0.0) + term.decades
    return dict(sorted(sums.items(), key=lambda entry: -_magnitude(entry[1])))


def sum_by_kind(flow: GradientFlow) -> dict[str, tuple[float, tuple[str, ...]]]:
    """The decades of every kind of operation with the names of its operations, both the largest in size first."""
    names: dict[str, list[str]] = {}
    kinds = {term.op: term.kind for term in list_terms(flow)}
    for name in sum_by_operation(flow):
        names.setdefault(kinds[name], []).append(name)
    shares = flow.shares("kind")
    return {kind: (shares[kind], tuple(names.get(kind, ()))) for kind in sorted(shares, key=lambda kind: -_magnitude(shares[kind]))}


def find_blocking_operation(flow: GradientFlow) -> str:
    """The label of the first operation on the backward pass whose input gradient is zero although one arrives; "" for none."""
    blocking = _find_blocking_op(flow)
    return blocking.label if blocking else ""


def explain_missing_total(flow: GradientFlow) -> str:
    """Why the total is not a finite number, as a sentence without a full stop."""
    if flow.log10_source_rms == -math.inf:
        return "The loss hands no gradient to the output"
    if flow.total > -math.inf or math.isnan(flow.total):
        return f"What arrives at {format_target(flow)} is not a finite number"
    blocking = find_blocking_operation(flow)
    return f"No gradient at all arrives at {format_target(flow)}" + (f"; it ends at {format_label(blocking)}" if blocking else "")


def ends_at_parameter(flow: GradientFlow) -> bool:
    """Whether the flow is traced to a parameter, and not to the network's input."""
    return any(parameter.name == flow.target for parameter in flow.parameters)


def format_target(flow: GradientFlow) -> str:
    """The flow's target in words: "the input", or the parameter's name."""
    return flow.target if ends_at_parameter(flow) else "the input"


def format_label(label: str) -> str:
    """The label as it is written in a sentence: "module 3" for a bare number, as in a Sequential without a name."""
    return f"module {label}" if label.isdigit() else label


def format_signed_decades(decades: float, digits: int = 2) -> str:
    """Decades with their sign and that many decimals, in words for NaN and infinities; "0.00" has no sign."""
    if math.isnan(decades):
        return "not a number"
    if math.isinf(decades):
        return "to nothing" if decades < 0 else "without bound"
    text = f"{decades:+,.{digits}f}"
    return text if any(digit in text for digit in "123456789") else text[1:]


def _find_blocking_op(flow: GradientFlow) -> FlowOp | None:
    return next((op for op in reversed(flow.ops) if op.visits and op.decades == -math.inf), None)


def _terms_before_zero(flow: GradientFlow) -> list[FlowTerm]:
    """Where no gradient arrives, one term for all before the operation that ends it, from the gradient's size there."""
    blocking = _find_blocking_op(flow)
    if blocking is None:
        return []
    label = f"output … {blocking.label}"
    return [FlowTerm(label, "other", "on the way", label, blocking.log10_gradient_out - flow.log10_source_rms, "")]


def _operation_terms(op: FlowOp) -> list[FlowTerm]:
    """An operation's terms in the order of the forward pass; that of its size only where it is not 0."""
    source_line = locations.format_source_line(op.location, "") if op.location else ""
    own = FlowTerm(op.label, op.kind, op.op, op.block or ROOT, op.decades, source_line)
    return [FlowTerm(op.label, SIZE, SIZE, op.block or ROOT, op.size, source_line), own] if op.size else [own]


def _magnitude(decades: float) -> float:
    return math.inf if math.isnan(decades) else abs(decades)


def _merge(neighbours: Sequence[TermGroup]) -> TermGroup:
    if len(neighbours) == 1:
        return neighbours[0]
    names = tuple(name for group in neighbours for name in group.names)
    terms = tuple(term for group in neighbours for term in group.terms)
    return TermGroup(names, neighbours[0].noun, sum(term.decades for term in terms), terms)


def _group_neighbours(single: list[TermGroup], max_groups: int) -> list[list[TermGroup]]:
    """Lists of neighbours, at most `max_groups`, with the lowest limit on a list's sum of squared decades.

    Squares and not sizes, so that a large term is not hidden among its neighbours. Non-finite terms stay apart from finite ones.
    """
    if len(single) <= max_groups:
        return [[group] for group in single]
    squares = [group.decades**2 if math.isfinite(group.decades) else math.inf for group in single]
    finite = [square for square in squares if math.isfinite(square)]
    low, high = MIN_SHARE**2 * max(finite, default=0.0), sum(finite)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if len(_split_at_limit(squares, middle)) <= max_groups else (middle, high)
    return [[single[i] for i in indices] for indices in _split_at_limit(squares, LIMIT_SLACK * high)]


def _split_at_limit(squares: list[float], limit: float) -> list[list[int]]:
    groups: list[list[int]] = []
    total = -1.0
    for index, square in enumerate(squares):
        if total < 0 or (total + square > limit and not total == square == math.inf):
            groups.append([])
            total = 0.0
        groups[-1].append(index)
        total += square
    return groups
