"""A traced gradient: what every operation did to it between the loss and a target, and sums of that.

Decades are log10 of a ratio of RMS values: -1 means that a tenth arrives. The terms of a flow add up to its total exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from unvanish.errors import UsageError
from unvanish.record.structure import Location

By = Literal["op", "module", "kind", "block"]
GROUPINGS: tuple[By, ...] = ("op", "module", "kind", "block")

SPLIT, INTERFERENCE, HOOK, ENDS, SIZE = "split", "interference", "hook", "ends", "size"
SILENT = 5e-4  # decades that a table of three digits would show as nothing
ROOT = "(network)"  # how the network itself is called where its own operations are grouped by module


@dataclass(frozen=True, slots=True)
class FlowOp:
    """One operation of the forward pass, a module's or a functional call, and what it did to the gradient.

    `label` is unique in the flow: the module path, or "block.1:relu#2" for the second functional relu there. `order` is the
    position in the forward pass. `output_mean` and `output_std` are of its output. `log10_gradient_out` is the RMS of the whole
    gradient at its output, `log10_gradient_in` that of what it sends on to its inputs, parameters left out; NaN where there is
    none. `visits` is the share of the gradient's energy, from the target's point of view, that came through here (0 to 1).
    `decades` is the operation's term in the sum, what it did to the gradient's length (its Euclidean norm), and `size` what its
    RMS lost besides because the same length is spread over more elements; on a chain the two are its plain gain. `parameters` are
    the names of those it uses, `settings` what an activation was called with ("slope" of a leaky ReLU, "alpha" of an ELU).
    """

    label: str
    path: str
    op: str
    kind: str
    block: str
    order: int
    location: Location | None
    output_mean: float
    output_std: float
    log10_gradient_out: float
    log10_gradient_in: float
    visits: float
    decades: float
    size: float
    parameters: tuple[str, ...] = ()
    settings: tuple[tuple[str, float], ...] = ()

    @property
    def log10_gain(self) -> float:
        """The gradient's RMS at the inputs over that at the output, log10: what this operation alone does."""
        return self.log10_gradient_in - self.log10_gradient_out


@dataclass(frozen=True, slots=True)
class Junction:
    """A tensor that several operations use, where their contributions to its gradient meet.

    `split` is never negative: the energies of the `parts` add up to more than their mean part. `interference` is negative where the
    parts cancel and positive where they reinforce each other; with a single part it is what a hook on the tensor did. `origin` is
    the label of the operation that made the tensor.
    """

    origin: str
    path: str
    block: str
    parts: int
    visits: float
    split: float
    interference: float


@dataclass(frozen=True, slots=True)
class FlowParameter:
    """One parameter's RMS and the RMS of its gradient, as log10; -inf for an exact zero, NaN where no gradient reaches it.

    `orthogonal` says whether it stretches all directions alike, as a matrix (outputs, inputs); False where that was not examined.
    """

    name: str
    shape: tuple[int, ...]
    log10_rms: float
    log10_gradient_rms: float
    orthogonal: bool = False


@dataclass(frozen=True, slots=True)
class TimeProfile:
    """The gradient along a recurrence, one value a time step in the order of processing.

    `name` is the recurrent parameter. `log10_gradient_rms` is the gradient at the recurrent operation's output. `log10_carried` is
    what arrives, of the gradient that enters the recurrence at its last step, at each step: its slope is `decades_per_step`
    (negative: it fades on the way back), and `horizon` is the number of steps beyond which less than a thousandth of it is left,
    by that slope (None where it does not fade). `gated` says whether signals multiply within a step, as the gates of an LSTM do.
    """

    name: str
    path: str
    location: Location | None
    log10_gradient_rms: tuple[float, ...]
    log10_carried: tuple[float, ...]
    decades_per_step: float
    horizon: float | None
    gated: bool = False

    @property
    def steps(self) -> int:
        """Number of time steps."""
        return len(self.log10_gradient_rms)

    @property
    def across(self) -> float:
        """Decades between the last step and the first, by the slope: negative where the gradient fades."""
        return self.decades_per_step * (self.steps - 1)

    @property
    def own(self) -> float:
        """Decades between the step with the largest gradient and the first step: -inf where nothing arrives there.

        Close to 0 where the loss reads every step, however little is carried from one to the other.
        """
        known = [size for size in self.log10_gradient_rms if not math.isnan(size)]
        return known[0] - max(known) if known and max(known) > -math.inf else math.nan


@dataclass(frozen=True, slots=True)
class GradientFlow:
    """The way of the gradient from `source` (the network's output) back to `target` (its input, or a parameter), term by term.

    `ops` are in the order of the forward pass. `ends` is the term of several outputs or several inputs, 0 where there is one of
    each. `loss_ops` are the operations of the loss, whose terms, with `loss_junctions` and `loss_ends`, add up to
    `log10_source_rms`: the gradient that the loss hands to the output.
    """

    network: str
    source: str
    target: str
    dtype: str
    log10_source_rms: float
    log10_target_rms: float
    ops: tuple[FlowOp, ...]
    junctions: tuple[Junction, ...] = ()
    ends: float = 0.0
    loss_ops: tuple[FlowOp, ...] = ()
    loss_junctions: tuple[Junction, ...] = ()
    loss_ends: float = 0.0
    parameters: tuple[FlowParameter, ...] = ()
    times: tuple[TimeProfile, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """log10 of the gradient's RMS at the target over that at the output; -inf where none arrives."""
        return self.log10_target_rms - self.log10_source_rms

    def shares(self, by: By = "block") -> dict[str, float]:
        """The decades of every operation, module, kind or block, adding up to `total`; in the order of the forward pass.

        Arguments:
            by: "op", "module", "kind" (of operation) or "block" (between tensors that the whole gradient passes).

        Where gradients meet, the terms "split" and "interference" are listed by their own names among operations and kinds, and so
        is "size", the spreading over more elements; by module or block they belong to the one in which they arise.

        Raises UsageError for another grouping.

        Example:
            >>> op = FlowOp("0", "0", "linear", "weight", "0", 0, None, 0.0, 1.0, -1.0, -1.5, 1.0, decades=-0.5, size=0.0)
            >>> flow = GradientFlow("net", "output", "input", "float64", -1.0, -1.5, (op,))
            >>> flow.total, flow.shares("kind")
            (-0.5, {'weight': -0.5})
        """
        if by not in GROUPINGS:
            raise UsageError(f"a flow has no shares by {by!r}; take one of {', '.join(GROUPINGS)}")
        shares: dict[str, float] = {}
        for name, decades in self._terms(by):
            shares[name] = shares.get(name, 0.0) + decades
        return shares

    def table(self) -> str:
        """The flow as text, from the output back to the input: blocks with their decades, and under each its operations."""
        blocks = self.shares("block")
        lines = [f"{self.total:+10.3f}  from {self.source} to {self.target}, in decades", ""]
        silent = 0
        for block in reversed(blocks):
            lines.append(f"{blocks[block]:+10.3f}  {block}")
            for op in reversed(self.ops):
                if op.block != block or not op.visits:
                    continue
                if abs(op.decades) < SILENT:
                    silent += 1
                else:
                    where = f"{op.location.file}:{op.location.line}" if op.location else ""
                    lines.append(f"{op.decades:+14.3f}  {op.label:<28} {op.op:<20} {where}".rstrip())
            size = sum(op.size for op in self.ops if op.block == block)
            if abs(size) >= SILENT:
                lines.append(f"{size:+14.3f}  {SIZE}: the same gradient over {'more' if size < 0 else 'fewer'} elements")
            for junction in self.junctions:
                if junction.block == block and max(abs(junction.split), abs(junction.interference)) >= SILENT:
                    used = f"{junction.origin} used {junction.parts} times" if junction.parts > 1 else f"on {junction.origin}"
                    lines.extend(f"{decades:+14.3f}  {term}: {used}" for term, decades in junction_terms(junction))
        return "\n".join(
            [*lines, "", f"{silent} operations that change it by less than {SILENT} are not listed"] if silent else lines
        )

    def _terms(self, by: By) -> Iterator[tuple[str, float]]:
        for op in self.ops:
            if op.visits:
                name = {"op": op.label, "module": op.path or ROOT, "kind": op.kind, "block": op.block}[by]
                yield name, op.decades
                if op.size:
                    yield SIZE if by in ("op", "kind") else name, op.size
        for junction in self.junctions:
            if not junction.visits:
                continue
            home = {"module": junction.path or ROOT, "block": junction.block}.get(by)
            for term, decades in junction_terms(junction):
                yield home or (term if by == "kind" else f"{term} after {junction.origin}"), decades
        if self.ends and not math.isnan(self.ends):
            yield ENDS, self.ends


def junction_terms(junction: Junction) -> tuple[tuple[str, float], ...]:
    """The names and decades of what a junction did."""
    if junction.parts == 1:
        return ((HOOK, junction.interference),)
    return ((SPLIT, junction.split), (INTERFERENCE, junction.interference))
