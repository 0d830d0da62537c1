"""The graph of a network's operations in the order of the forward pass, and queries on it.

`trace_graph` builds it. Where the forward pass cannot be traced, the graph is only a list of modules in order of registration, in
which neighbours inside nn.Sequential alone are connected.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from unvanish.network.module_kinds import WEIGHTED
from unvanish.remedies.graph.call_sites import CallSite
from unvanish.remedies.graph.parameter_products import ParameterFactor
from unvanish.remedies.graph.signal_kinds import Kind

PARAMETER = "parameter"
"""The `op` of a step that reads a parameter or buffer by its path, such as `self.fc.weight` in a `forward`."""

# Meant for outputs, attention or variances. Some networks have them between two layers, where they act as an activation.
_ATTENTION_LIKE = frozenset({"softmax", "softmax2d", "softmin", "logsoftmax", "exp"})
_TRANSPARENT = (Kind.NEUTRAL, Kind.RESHAPE, Kind.NORMALISATION)


@dataclass(frozen=True, slots=True)
class GraphStep:
    """One operation of the forward pass.

    Arguments:
        path: path of `module`; where `module` is None, path of the module whose `forward` made the call.
        op: the operation's name as `op_name` writes it, such as "leakyrelu"; also "placeholder", "output" and PARAMETER.
        kind: what it does to the signal.
        sources: positions of the steps whose results it takes.
        module: the module that runs; None for a functional call.
        site: source position of the call; None where it is unknown.
        has_default_arguments: whether the call passes nothing but the tensor (and `inplace`).
        parameter_factor: the parameter with which a call multiplies a signal; None where there is none.
    """

    path: str
    op: str
    kind: Kind
    sources: tuple[int, ...] = ()
    module: nn.Module | None = None
    site: CallSite | None = None
    has_default_arguments: bool = True
    parameter_factor: ParameterFactor | None = None


@dataclass(frozen=True, slots=True)
class ForwardGraph:
    """The steps of one forward pass in order.

    Arguments:
        steps: the operations; a step's sources come before it.
        consumers: for each step, the positions of the steps that take its result.
        hidden: for each step, whether a weighted layer comes after it.
        module_positions: for each module, the positions at which it runs.
        is_traced: whether the forward pass was followed; False where only the order of registration is known.
    """

    steps: tuple[GraphStep, ...]
    consumers: tuple[tuple[int, ...], ...]
    hidden: tuple[bool, ...]
    module_positions: Mapping[nn.Module, tuple[int, ...]]
    is_traced: bool

    @classmethod
    def from_steps(cls, steps: Sequence[GraphStep], *, is_traced: bool, uncertain: Collection[int] = ()) -> ForwardGraph:
        """The graph of steps that are in order (sources first). Untraced steps at `uncertain` positions do not count as hidden."""
        consumers: list[list[int]] = [[] for _ in steps]
        for position, step in enumerate(steps):
            for source in step.sources:
                consumers[source].append(position)
        steps = [
            replace(step, kind=Kind.ACTIVATION) if _leads_between_layers(position, steps, consumers) else step
            for position, step in enumerate(steps)
        ]
        hidden = [False] * len(steps)
        seen_weight = False
        for position in reversed(range(len(steps))):
            downstream = any(hidden[c] or steps[c].kind is Kind.WEIGHT for c in consumers[position])
            hidden[position] = downstream if is_traced else seen_weight and position not in uncertain
            seen_weight |= steps[position].kind is Kind.WEIGHT
        module_positions: dict[nn.Module, tuple[int, ...]] = {}
        for position, step in enumerate(steps):
            if step.module is not None:
                module_positions[step.module] = (*module_positions.get(step.module, ()), position)
        return cls(tuple(steps), tuple(map(tuple, consumers)), tuple(hidden), module_positions, is_traced)

    def positions(self, module: nn.Module) -> tuple[int, ...]:
        """The positions at which a module runs: several where it is shared, none where it is never called."""
        return self.module_positions.get(module, ())

    def activations(self) -> Iterator[tuple[int, GraphStep]]:
        """The activation steps with their positions."""
        return ((i, step) for i, step in enumerate(self.steps) if step.kind is Kind.ACTIVATION)

    def next_activation_or_layer(self, position: int) -> GraphStep | None:
        """The nearest activation after a step and before the next weighted layers; else the nearest weighted layer; else None."""
        queue, visited, weight = deque(self.consumers[position]), {position}, None
        while queue:
            position = queue.popleft()
            step = self.steps[position]
            if position in visited:
                continue
            visited.add(position)
            if step.kind is Kind.ACTIVATION:
                return step
            if step.kind is Kind.WEIGHT:
                weight = weight or step
            else:
                queue.extend(self.consumers[position])
        return weight

    def previous_operation(self, position: int) -> int:
        """The position of the nearest earlier step that is not NEUTRAL; -1 where there is none or more than one."""
        while len(self.steps[position].sources) == 1:
            (position,) = self.steps[position].sources
            if self.steps[position].kind is not Kind.NEUTRAL:
                return position
        return -1

    def is_gate(self, position: int) -> bool:
        """Whether a step's result is used only to multiply other signals, directly or after a neutral or reshaping step (1 - x)."""
        consumers = self.consumers[position]
        return bool(consumers) and all(self._is_multiplied(consumer) for consumer in consumers)

    def _is_multiplied(self, position: int) -> bool:
        kind = self.steps[position].kind
        return kind is Kind.PRODUCT or (kind in (Kind.NEUTRAL, Kind.RESHAPE) and self.is_gate(position))


def _leads_between_layers(position: int, steps: Sequence[GraphStep], consumers: Sequence[Sequence[int]]) -> bool:
    """Whether a softmax or an exponential only connects weighted layers, as an activation does.

    In attention it weighs other signals, so that no layer with weights comes next.
    """
    if steps[position].op not in _ATTENTION_LIKE or len(steps[position].sources) != 1:
        return False
    return _layers_only(steps[position].sources, steps, lambda index: steps[index].sources) and _layers_only(
        consumers[position], steps, lambda index: consumers[index]
    )


def _layers_only(start: Sequence[int], steps: Sequence[GraphStep], neighbours_of: Callable[[int], Sequence[int]]) -> bool:
    """Whether every path from some steps reaches a weighted layer through neutral, reshaping and normalising steps alone."""
    queue, visited = deque(start), set[int]()
    while queue:
        position = queue.popleft()
        if position in visited or isinstance(steps[position].module, WEIGHTED):
            continue
        visited.add(position)
        neighbours = neighbours_of(position)
        if steps[position].kind not in _TRANSPARENT or not neighbours:
            return False
        queue.extend(neighbours)
    return bool(start)
