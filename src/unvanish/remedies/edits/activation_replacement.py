"""Which activations may be exchanged for another, modules and calls alike, and why the others may not. It alters nothing."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.record.change import CallExchange, SourcePoint
from unvanish.remedies.base import Context, Operation
from unvanish.remedies.edits.method_rewriting import CannotRewrite, Exchange, Rewriting, Substitute, edited_class
from unvanish.remedies.edits.module_edits import Replace, Rewrite, places
from unvanish.remedies.graph.call_sites import CallSite
from unvanish.remedies.graph.forward_graph import ForwardGraph, GraphStep
from unvanish.remedies.graph.kinds import Kind, op_name
from unvanish.remedies.graph.trace_graph import trace_graph

NAMED_CALLS = 3
"""How many functional calls a message names before it stops."""


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation in both its forms: `build` makes the module, `call` is the function."""

    build: Callable[[], nn.Module]
    call: Substitute


Choice = Callable[[GraphStep], Activation | None]
"""What to put in the place of an activation; None leaves it as it is."""


def exchange(
    network: nn.Module, context: Context, *, by: Activation, remedy: str, keep: tuple[type[nn.Module], ...]
) -> tuple[Operation, ...]:
    """One operation for each hidden activation that is none of `keep`, whether a module or a call such as torch.tanh(x).

    Left alone: an activation of the output (no weighted layer comes after it), one whose result gates another signal, and all
    inside recurrent, attention and transformer layers. A module or a line with such a use among others is left alone too.
    Raises NotApplicable, in the name of `remedy`, where nothing is left to exchange, or where a call cannot be edited.
    """
    layout = trace_graph(network, context.inputs)
    kept_calls = {op_name(kind.__name__) for kind in keep}

    def choice(step: GraphStep) -> Activation | None:
        kept = step.op in kept_calls if step.module is None else isinstance(step.module, keep)
        return None if kept else by

    operations = exchanges(network, layout, choice, remedy=remedy)
    if not operations:
        raise NotApplicable(f"{remedy}: {_reason(network, layout, keep=keep)}")
    return operations


def exchanges(network: nn.Module, layout: ForwardGraph, choice: Choice, *, remedy: str) -> tuple[Operation, ...]:
    """The operations that put the choice for each exchangeable activation of a layout in its place.

    Raises NotApplicable, in the name of `remedy`, where a chosen call cannot be edited: some exchanged and some not would be
    another network than was asked for.
    """
    found = places(network)
    operations: list[Operation] = []
    modules = {id(step.module): step for _, step in layout.activations() if step.module is not None and step.path}
    for step in modules.values():
        new = choice(step) if is_exchangeable(step.module, layout) else None
        if new is not None and step.module is not None:
            operations.append(Replace(step.path, step.module, new.build(), found[step.module]))
    return (*operations, *_rewrites(network, layout, choice, remedy=remedy))


def is_exchangeable(module: nn.Module | None, layout: ForwardGraph) -> bool:
    """Whether every use of an activation module is hidden, and none is a gate."""
    positions = () if module is None else layout.positions(module)
    return bool(positions) and all(is_inner(i, layout) for i in positions)


def is_inner(position: int, layout: ForwardGraph) -> bool:
    """Whether an activation is hidden and no gate."""
    return layout.hidden[position] and not layout.is_gate(position)


def rewritten(network: nn.Module, calls: Sequence[tuple[GraphStep, Rewriting]], *, remedy: str) -> tuple[Operation, ...]:
    """One operation for each module in whose methods some calls are exchanged. Raises NotApplicable where one cannot be."""
    owners: dict[str, list[tuple[GraphStep, Rewriting]]] = {}
    for step, by in calls:
        if step.site is None:
            raise NotApplicable(
                f"{remedy}: {step.op} is called in a place that cannot be edited (not in a method of a module); make it a module: "
                "self.act = nn.Tanh() in __init__, self.act(x) in forward"
            )
        owners.setdefault(step.site.owner, []).append((step, by))
    return tuple(_rewrite(network, path, several, remedy=remedy) for path, several in owners.items())


def _rewrites(network: nn.Module, layout: ForwardGraph, choice: Choice, *, remedy: str) -> tuple[Operation, ...]:
    uses: dict[CallSite | None, list[int]] = {}
    for position, step in layout.activations():
        if step.module is None:
            uses.setdefault(step.site, []).append(position)
    calls: list[tuple[GraphStep, Rewriting]] = []
    for positions in uses.values():
        step = layout.steps[positions[0]]
        new = choice(step) if all(is_inner(i, layout) for i in positions) else None
        if new is not None:
            calls.append((step, new.call))
    return rewritten(network, calls, remedy=remedy)


def _rewrite(network: nn.Module, path: str, calls: Sequence[tuple[GraphStep, Rewriting]], *, remedy: str) -> Operation:
    module = network.get_submodule(path)
    changes = [Exchange(s.site.method, s.site.spans, s.site.receiver, by) for s, by in calls if s.site is not None]
    try:
        kind = edited_class(type(module), changes)
    except CannotRewrite as why:
        raise NotApplicable(
            f"{remedy}: {_described([step for step, _ in calls])} cannot be exchanged where it is called: {why}; "
            "make it a module: self.act = nn.Tanh() in __init__, self.act(x) in forward"
        ) from why
    return Rewrite(path, module, kind, tuple(_call(step, step.site, by) for step, by in calls if step.site is not None))


def _call(step: GraphStep, site: CallSite, by: Rewriting) -> CallExchange:
    points = tuple(SourcePoint(file, *span) for file, span in zip(site.files, site.spans, strict=True))
    return CallExchange(points, f"{step.op}(x)", by.spelled, linecache.getline(points[-1].file, points[-1].line).strip())


def _reason(network: nn.Module, layout: ForwardGraph, *, keep: tuple[type[nn.Module], ...]) -> str:
    name = type(network).__name__
    if any(step.kind is Kind.ACTIVATION and step.path == "" and step.module is not None for step in layout.steps):
        return f"{name} is itself the activation, so there is no place to put another; give the network that holds it"
    modules = [step for _, step in layout.activations() if step.module is not None]
    calls = [step for position, step in layout.activations() if step.module is None and is_inner(position, layout)]
    if any(isinstance(step.module, keep) for step in modules):
        return (
            f"every hidden activation module of {name} is {_kinds(modules, keep)} already, or must stay; nothing is left to replace"
        )
    if calls:
        return (
            f"the activations of {name} need no replacement ({_described(calls)}, called inside forward); nothing is left "
            "to replace"
        )
    where = ", ".join(repr(step.path) for step in modules[:NAMED_CALLS])
    if modules and layout.traced:
        return f"the activation modules of {name} ({where}) are the output's own or gate another signal, and must stay"
    if modules:
        return (
            f"the forward of {name} could not be traced, and its activation modules ({where}) may run after the last weighted "
            "layer, as the output's own; pass inputs= to have their order checked"
        )
    unseen = (
        "" if layout.traced else " (its forward could not be traced, so calls such as torch.sigmoid(x) are not seen; pass inputs=)"
    )
    return (
        f"{name} has no activation to replace{unseen}; those inside recurrent, attention and transformer layers are not exchanged"
    )


def _kinds(modules: list[GraphStep], keep: tuple[type[nn.Module], ...]) -> str:
    return " or ".join(sorted({type(step.module).__name__ for step in modules if isinstance(step.module, keep)}))


def _described(calls: list[GraphStep]) -> str:
    named = list(dict.fromkeys(f"{step.op} in {step.path or 'the network itself'}" for step in calls))
    return ", ".join(named[:NAMED_CALLS]) + (f" and {len(named) - NAMED_CALLS} more" if len(named) > NAMED_CALLS else "")
