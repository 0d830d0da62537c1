"""The terms of a flow as few lines that can be read: its blocks from the loss to the input, neighbours folded where there are many.

It only adds up what was traced: the lines add up to the same total. Nothing is drawn here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from unvanish.record.flow import ENDS, ROOT, SIZE, FlowOp, GradientFlow, junction_terms
from unvanish.report.wording import places

HALVINGS = 60  # of the interval in which the fold's limit is sought; beyond this float64 has no more digits
SLACK = 1.25  # on that limit, so that neighbours that are nearly alike are folded alike
SLIGHT = 0.02  # of the heaviest line: below, lines are folded even where there is room for more
ROUNDING = 1e-9  # decades that are only the rounding of a sum
BETWEEN = " … "  # stands between the ends of a stretch, in the names of blocks too
LEAST = 5  # characters of a name that still say something
MEANT = "several outputs or inputs"


@dataclass(frozen=True, slots=True)
class Piece:
    """One term of the sum: an operation's own, that of its size, or one of those that arise where gradients meet.

    `where` is the source line.
    """

    label: str
    kind: str
    op: str
    block: str
    decades: float
    where: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the waterfall: a block or operation, or `folded` neighbours of them; its pieces from the loss to the input."""

    names: tuple[str, ...]
    noun: str
    decades: float
    pieces: tuple[Piece, ...]

    @property
    def folded(self) -> int:
        """How many blocks or operations stand in this line."""
        return len(self.names)

    def name(self, width: int) -> str:
        """The line's name in at most `width` characters, in the order of the forward pass: "net.4 … net.36 (9 blocks)".

        Where the room is short the noun goes first, then the middle of the names.
        """
        first, last = self.names[-1].split(BETWEEN)[0], self.names[0].split(BETWEEN)[-1]
        if first == last or (self.folded == 1 and len(self.names[0]) <= width):
            return places.shortened(self.names[0], width)
        count = f" ({self.folded} {self.noun}s)" if self.folded > 1 else ""
        if len(f"{first}{BETWEEN}{last}{count}") > width:
            count = f" ({self.folded})" if self.folded > 1 else ""
            room = width - len(count) - len(BETWEEN)
            first = places.shortened(first, max(LEAST, room // 2, room - len(last)))
            last = places.shortened(last, max(LEAST, room - len(first)))
        return f"{first}{BETWEEN}{last}{count}"


def pieces(flow: GradientFlow) -> list[Piece]:
    """Every term that the gradient came through, from the loss back to the input; their decades add up to the total."""
    position = {op.label: float(op.order) for op in flow.ops}
    found = [(position[op.label], rank, piece) for op in flow.ops if op.visits for rank, piece in enumerate(_pieces(op))]
    for junction in flow.junctions:
        if junction.visits:
            # The tensor lies after its origin, so on the way back it is met before it.
            at = position.get(junction.origin, -1.0) + 0.5
            for rank, (term, decades) in enumerate(reversed(junction_terms(junction))):
                label = f"{term} after {junction.origin}"
                found.append((at, rank, Piece(label, term, term, junction.block or ROOT, decades, "")))
    found.sort(key=lambda entry: entry[:2], reverse=True)
    ordered = [piece for _, _, piece in found]
    if abs(flow.ends) > ROUNDING:
        ordered.append(Piece(MEANT, ENDS, ENDS, MEANT, flow.ends, ""))
    return ordered


def lines(flow: GradientFlow, most: int) -> list[Line]:
    """At most `most` lines from the loss to the input: the blocks, or the operations of a network that is a single block.

    Where there are more, neighbours are folded so that no line is much heavier than the others; what stands out stays alone.
    """
    every = pieces(flow)
    blocks = len({piece.block for piece in every}) > 1
    every = [*_way_to_the_end(flow), *every]
    grouped: dict[str, list[Piece]] = {}
    for piece in every:
        grouped.setdefault(piece.block if blocks else piece.label, []).append(piece)
    noun = "block" if blocks else "operation"
    single = [Line((name,), noun, sum(p.decades for p in own), tuple(own)) for name, own in grouped.items()]
    return [_joined(run) for run in _fold(single, most)]


def by_name(flow: GradientFlow) -> dict[str, float]:
    """The decades of every operation by what it is called ("sigmoid", "linear", "interference"), the heaviest first."""
    found: dict[str, float] = {}
    for piece in pieces(flow):
        found[piece.op] = found.get(piece.op, 0.0) + piece.decades
    return dict(sorted(found.items(), key=lambda entry: -_weight(entry[1])))


def by_kind(flow: GradientFlow) -> dict[str, tuple[float, tuple[str, ...]]]:
    """The decades of every kind with the names of its operations, both the heaviest first."""
    names: dict[str, list[str]] = {}
    kinds = {piece.op: piece.kind for piece in pieces(flow)}
    for name in by_name(flow):
        names.setdefault(kinds[name], []).append(name)
    shares = flow.shares("kind")
    return {kind: (shares[kind], tuple(names.get(kind, ()))) for kind in sorted(shares, key=lambda kind: -_weight(shares[kind]))}


def ending(flow: GradientFlow) -> str:
    """The operation that sends nothing on although a gradient reaches it, the first on the way back; empty where there is none."""
    last = _last_reached(flow)
    return last.label if last else ""


def no_total(flow: GradientFlow) -> str:
    """What happened, in one sentence, where the total is not a finite number."""
    if flow.log10_source_rms == -math.inf:
        return "The loss hands no gradient to the output"
    if flow.total > -math.inf or math.isnan(flow.total):
        return f"What arrives at {end(flow)} is not a finite number"
    last = ending(flow)
    return f"No gradient at all arrives at {end(flow)}" + (f"; it ends at {place(last)}" if last else "")


def to_parameter(flow: GradientFlow) -> bool:
    """Whether the flow ends at a parameter and not at the network's input."""
    return any(parameter.name == flow.target for parameter in flow.parameters)


def end(flow: GradientFlow) -> str:
    """Where the flow ends, in words: "the input", or the parameter's name."""
    return flow.target if to_parameter(flow) else "the input"


def place(label: str) -> str:
    """The label as it stands in a sentence: a bare number, as in a Sequential without a name, is called a module."""
    return f"module {label}" if label.isdigit() else label


def said(decades: float, digits: int = 2) -> str:
    """Decades with their sign and that many decimals, or in words where they are no number."""
    if math.isnan(decades):
        return "not a number"
    if math.isinf(decades):
        return "to nothing" if decades < 0 else "without bound"
    text = f"{decades:+,.{digits}f}"
    return text if any(digit in text for digit in "123456789") else text[1:]


def _last_reached(flow: GradientFlow) -> FlowOp | None:
    return next((op for op in reversed(flow.ops) if op.visits and op.decades == -math.inf), None)


def _way_to_the_end(flow: GradientFlow) -> list[Piece]:
    """Where no gradient arrives, what became of it before the operation that ends it: a single term, known from its size there."""
    last = _last_reached(flow)
    if last is None:
        return []
    label = f"output … {last.label}"
    return [Piece(label, "other", "on the way", label, last.log10_gradient_out - flow.log10_source_rms, "")]


def _pieces(op: FlowOp) -> list[Piece]:
    """An operation's two terms, in the order in which they follow each other in the forward pass: `size` only where it is not 0."""
    where = places.line_of(op.location, "") if op.location else ""
    own = Piece(op.label, op.kind, op.op, op.block or ROOT, op.decades, where)
    return [Piece(op.label, SIZE, SIZE, op.block or ROOT, op.size, where), own] if op.size else [own]


def _weight(decades: float) -> float:
    return math.inf if math.isnan(decades) else abs(decades)


def _joined(run: Sequence[Line]) -> Line:
    if len(run) == 1:
        return run[0]
    names = tuple(name for line in run for name in line.names)
    inside = tuple(piece for line in run for piece in line.pieces)
    return Line(names, run[0].noun, sum(piece.decades for piece in inside), inside)


def _fold(single: list[Line], most: int) -> list[list[Line]]:
    """Runs of neighbours, at most `most` of them, with the lowest limit on a run's sum of squared decades.

    Squares and not sizes, so that what stands out is not drowned among its neighbours. What is not finite stands apart.
    """
    if len(single) <= most:
        return [[line] for line in single]
    squares = [line.decades**2 if math.isfinite(line.decades) else math.inf for line in single]
    finite = [square for square in squares if math.isfinite(square)]
    low, high = SLIGHT**2 * max(finite, default=0.0), sum(finite)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if len(_cut(squares, middle)) <= most else (middle, high)
    return [[single[i] for i in run] for run in _cut(squares, SLACK * high)]


def _cut(squares: list[float], limit: float) -> list[list[int]]:
    runs: list[list[int]] = []
    held = -1.0
    for index, square in enumerate(squares):
        if held < 0 or (held + square > limit and not held == square == math.inf):
            runs.append([])
            held = 0.0
        runs[-1].append(index)
        held += square
    return runs
