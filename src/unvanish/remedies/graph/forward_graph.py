"""The order in which a network's operations follow each other, as a graph that can be asked questions. It alters nothing.

The graph comes from `survey`: traced, where the forward pass can be traced without inputs; otherwise a mere order of modules,
of which only those inside nn.Sequential are known to be joined.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from unvanish.remedies.graph.call_sites import CallSite
from unvanish.remedies.graph.kinds import WEIGHTED, Kind
from unvanish.remedies.graph.parameter_products import Factor

PARAMETER = "parameter"
"""The `op` of a step that reads a tensor by its own path, as `self.fc.weight` does in a `forward`."""

# Made for the output, for attention or for a spread, and yet put between two layers now and then, where they bend like any other.
_MISPLACED = frozenset({"softmax", "softmax2d", "softmin", "logsoftmax", "exp"})
_PASSING = (Kind.NEUTRAL, Kind.RESHAPE, Kind.NORMALISATION)


@dataclass(frozen=True, slots=True)
class GraphStep:
    """One operation of the forward pass.

    `path` is the module path of the module, or of the module whose `forward` made the call where `module` is None. `site` is
    where the call stands in the source, where that is known, and `plain` whether it names nothing but the tensor. `sources` are
    the positions of the steps whose results it takes. `factor` is the parameter that a call multiplies a signal with.
    """

    path: str
    op: str
    kind: Kind
    sources: tuple[int, ...] = ()
    module: nn.Module | None = None
    site: CallSite | None = None
    plain: bool = True
    factor: Factor | None = None


@dataclass(frozen=True, slots=True)
class ForwardGraph:
    """The steps of one forward pass in order.

    `consumers[i]` are the positions that take the result of step i, `hidden[i]` tells whether a weighted layer comes after it,
    and `uses` where a module runs.
    """

    steps: tuple[GraphStep, ...]
    consumers: tuple[tuple[int, ...], ...]
    hidden: tuple[bool, ...]
    uses: Mapping[nn.Module, tuple[int, ...]]
    traced: bool

    @classmethod
    def of(cls, steps: Sequence[GraphStep], *, traced: bool, doubtful: Collection[int] = ()) -> ForwardGraph:
        """The layout of steps that are in order: a step's sources come before it. `doubtful` ones do not count as hidden."""
        consumers: list[list[int]] = [[] for _ in steps]
        for position, step in enumerate(steps):
            for source in step.sources:
                consumers[source].append(position)
        steps = [
            replace(step, kind=Kind.ACTIVATION) if _stands_between_layers(position, steps, consumers) else step
            for position, step in enumerate(steps)
        ]
        hidden = [False] * len(steps)
        seen_weight = False
        for position in reversed(range(len(steps))):
            downstream = any(hidden[c] or steps[c].kind is Kind.WEIGHT for c in consumers[position])
            hidden[position] = downstream if traced else seen_weight and position not in doubtful
            seen_weight |= steps[position].kind is Kind.WEIGHT
        uses: dict[nn.Module, tuple[int, ...]] = {}
        for position, step in enumerate(steps):
            if step.module is not None:
                uses[step.module] = (*uses.get(step.module, ()), position)
        return cls(tuple(steps), tuple(map(tuple, consumers)), tuple(hidden), uses, traced)

    def positions(self, module: nn.Module) -> tuple[int, ...]:
        """Where a module runs: several positions where it is shared, none where it is never called."""
        return self.uses.get(module, ())

    def activations(self) -> Iterator[tuple[int, GraphStep]]:
        """The elementwise activations with their positions."""
        return ((i, step) for i, step in enumerate(self.steps) if step.kind is Kind.ACTIVATION)

    def following(self, position: int) -> GraphStep | None:
        """The nearest activation or weighted layer behind a step, an activation first; None where neither is known."""
        queue, seen, weight = deque(self.consumers[position]), {position}, None
        while queue:
            here = queue.popleft()
            step = self.steps[here]
            if here in seen:
                continue
            seen.add(here)
            if step.kind is Kind.ACTIVATION:
                return step
            if step.kind is Kind.WEIGHT:
                weight = weight or step
            else:
                queue.extend(self.consumers[here])
        return weight

    def preceding(self, position: int) -> int:
        """The position of the nearest step before this one that is more than neutral; -1 where there is none or more than one."""
        while len(self.steps[position].sources) == 1:
            (position,) = self.steps[position].sources
            if self.steps[position].kind is not Kind.NEUTRAL:
                return position
        return -1

    def is_gate(self, position: int) -> bool:
        """Whether a step's result does nothing but multiply other signals, as it is or reshaped, scaled, or taken from one."""
        consumers = self.consumers[position]
        return bool(consumers) and all(self._multiplies(consumer) for consumer in consumers)

    def _multiplies(self, position: int) -> bool:
        kind = self.steps[position].kind
        return kind is Kind.PRODUCT or (kind in (Kind.NEUTRAL, Kind.RESHAPE) and self.is_gate(position))


def _stands_between_layers(position: int, steps: Sequence[GraphStep], consumers: Sequence[Sequence[int]]) -> bool:
    """Whether a softmax or an exponential does nothing but lead from one weighted layer to the next, as an activation does.

    In attention it weighs other signals, so what comes next is no layer with weights of its own.
    """
    if steps[position].op not in _MISPLACED or len(steps[position].sources) != 1:
        return False
    return _layers_only(steps[position].sources, steps, lambda at: steps[at].sources) and _layers_only(
        consumers[position], steps, lambda at: consumers[at]
    )


def _layers_only(first: Sequence[int], steps: Sequence[GraphStep], onward: Callable[[int], Sequence[int]]) -> bool:
    """Whether every way from some steps comes to a weighted layer, past nothing but what passes a signal on."""
    queue, seen = deque(first), set[int]()
    while queue:
        here = queue.popleft()
        if here in seen or isinstance(steps[here].module, WEIGHTED):
            continue
        seen.add(here)
        beyond = onward(here)
        if steps[here].kind not in _PASSING or not beyond:
            return False
        queue.extend(beyond)
    return bool(first)
