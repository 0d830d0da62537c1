"""Plans the replacement of hidden activations, both modules and functional calls, and explains why others have to stay."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.record.network_changes import CallExchange, SourcePoint
from unvanish.remedies.base import Context, Operation
from unvanish.remedies.edits.method_rewriting import CallEdit, CallRewriting, CannotRewrite, FunctionCall, class_with_edits
from unvanish.remedies.edits.module_edits import Replace, Rewrite, module_places
from unvanish.remedies.graph.call_sites import CallSite
from unvanish.remedies.graph.forward_graph import ForwardGraph, GraphStep
from unvanish.remedies.graph.signal_kinds import Kind, op_name
from unvanish.remedies.graph.trace_graph import trace_graph

MAX_CALLS_NAMED = 3
"""The most functional calls that a message names."""


@dataclass(frozen=True, slots=True)
class ActivationForms:
    """An activation in both forms: `build` makes the module, `call` is the functional call."""

    build: Callable[[], nn.Module]
    call: FunctionCall


ActivationChoice = Callable[[GraphStep], ActivationForms | None]
"""Gives the replacement of an activation; None leaves it as it is."""


def replace_activations(
    network: nn.Module, context: Context, *, replacement: ActivationForms, remedy: str, keep: tuple[type[nn.Module], ...]
) -> tuple[Operation, ...]:
    """One operation for each hidden activation, whether a module or a call such as torch.tanh(x).

    Left alone: an activation of the output (no weighted layer comes after it), one whose result gates another signal, and all
    inside recurrent, attention and transformer layers. A module or a line with such a use among others is left alone too.

    Arguments:
        network: the network to treat.
        context: as in `Remedy.plan`; `inputs` help where the forward pass cannot be traced without.
        replacement: the activation to put in.
        remedy: name of the remedy, with which messages begin.
        keep: module classes of activations that stay, and whose functions stay.

    Raises:
        NotApplicable: nothing is left to replace, or a call cannot be edited.
    """
    graph = trace_graph(network, context.inputs)
    kept_calls = {op_name(kind.__name__) for kind in keep}

    def choose(step: GraphStep) -> ActivationForms | None:
        kept = step.op in kept_calls if step.module is None else isinstance(step.module, keep)
        return None if kept else replacement

    operations = replace_by_choice(network, graph, choose, remedy=remedy)
    if not operations:
        raise NotApplicable(f"{remedy}: {_explain_refusal(network, graph, keep=keep)}")
    return operations


def replace_by_choice(network: nn.Module, graph: ForwardGraph, choose: ActivationChoice, *, remedy: str) -> tuple[Operation, ...]:
    """The operations that replace each hidden activation of a traced network by what `choose` gives for its step.

    Raises NotApplicable, in the name of `remedy`, where one of the calls cannot be edited: all are replaced, or none.
    """
    places = module_places(network)
    replacements: list[Operation] = []
    modules = {id(step.module): step for _, step in graph.activations() if step.module is not None and step.path}
    for step in modules.values():
        replacement = choose(step) if is_exchangeable(step.module, graph) else None
        if replacement is not None and step.module is not None:
            replacements.append(Replace(step.path, step.module, replacement.build(), places[step.module]))
    return (*replacements, *_rewrite_chosen_calls(network, graph, choose, remedy=remedy))


def is_exchangeable(module: nn.Module | None, graph: ForwardGraph) -> bool:
    """Whether every use of an activation module is hidden, and none gates another signal."""
    positions = () if module is None else graph.positions(module)
    return bool(positions) and all(is_hidden_ungated(i, graph) for i in positions)


def is_hidden_ungated(position: int, graph: ForwardGraph) -> bool:
    """Whether the activation at a position is hidden (a weighted layer comes after it) and gates no other signal."""
    return graph.hidden[position] and not graph.is_gate(position)


def rewrite_calls(network: nn.Module, calls: Sequence[tuple[GraphStep, CallRewriting]], *, remedy: str) -> tuple[Operation, ...]:
    """One operation for each module in whose methods some of the calls are. Raises NotApplicable where one cannot be edited."""
    owners: dict[str, list[tuple[GraphStep, CallRewriting]]] = {}
    for step, rewriting in calls:
        if step.site is None:
            raise NotApplicable(
                f"{remedy}: {step.op} is called in a place that cannot be edited (not in a method of a module); make it a module: "
                "self.act = nn.Tanh() in __init__, self.act(x) in forward"
            )
        owners.setdefault(step.site.owner, []).append((step, rewriting))
    return tuple(_rewrite_module(network, path, owner_calls, remedy=remedy) for path, owner_calls in owners.items())


def _rewrite_chosen_calls(
    network: nn.Module, graph: ForwardGraph, choose: ActivationChoice, *, remedy: str
) -> tuple[Operation, ...]:
    positions_by_site: dict[CallSite | None, list[int]] = {}
    for position, step in graph.activations():
        if step.module is None:
            positions_by_site.setdefault(step.site, []).append(position)
    calls: list[tuple[GraphStep, CallRewriting]] = []
    for positions in positions_by_site.values():
        step = graph.steps[positions[0]]
        replacement = choose(step) if all(is_hidden_ungated(i, graph) for i in positions) else None
        if replacement is not None:
            calls.append((step, replacement.call))
    return rewrite_calls(network, calls, remedy=remedy)


def _rewrite_module(network: nn.Module, path: str, calls: Sequence[tuple[GraphStep, CallRewriting]], *, remedy: str) -> Operation:
    module = network.get_submodule(path)
    call_edits = [
        CallEdit(step.site.method, step.site.ends, step.site.is_method_call, rewriting)
        for step, rewriting in calls
        if step.site is not None
    ]
    try:
        edited_class = class_with_edits(type(module), call_edits)
    except CannotRewrite as error:
        raise NotApplicable(
            f"{remedy}: {_list_calls([step for step, _ in calls])} cannot be exchanged where it is called: {error}; "
            "make it a module: self.act = nn.Tanh() in __init__, self.act(x) in forward"
        ) from error
    return Rewrite(
        path,
        module,
        edited_class,
        tuple(_call_exchange(step, step.site, rewriting) for step, rewriting in calls if step.site is not None),
    )


def _call_exchange(step: GraphStep, site: CallSite, rewriting: CallRewriting) -> CallExchange:
    points = tuple(SourcePoint(file, *span) for file, span in zip(site.files, site.ends, strict=True))
    return CallExchange(
        points, f"{step.op}(x)", rewriting.replacement_text, linecache.getline(points[-1].file, points[-1].line).strip()
    )


def _explain_refusal(network: nn.Module, graph: ForwardGraph, *, keep: tuple[type[nn.Module], ...]) -> str:
    name = type(network).__name__
    if any(step.kind is Kind.ACTIVATION and step.path == "" and step.module is not None for step in graph.steps):
        return f"{name} is itself the activation, so there is no place to put another; give the network that holds it"
    modules = [step for _, step in graph.activations() if step.module is not None]
    calls = [step for position, step in graph.activations() if step.module is None and is_hidden_ungated(position, graph)]
    if any(isinstance(step.module, keep) for step in modules):
        kinds = " or ".join(sorted({type(step.module).__name__ for step in modules if isinstance(step.module, keep)}))
        return f"every hidden activation module of {name} is {kinds} already, or must stay; nothing is left to replace"
    if calls:
        return (
            f"the activations of {name} need no replacement ({_list_calls(calls)}, called inside forward); nothing is left "
            "to replace"
        )
    paths = ", ".join(repr(step.path) for step in modules[:MAX_CALLS_NAMED])
    if modules and graph.is_traced:
        return f"the activation modules of {name} ({paths}) are the output's own or gate another signal, and must stay"
    if modules:
        return (
            f"the forward of {name} could not be traced, and its activation modules ({paths}) may run after the last weighted "
            "layer, as the output's own; pass inputs= to have their order checked"
        )
    untraced = " (its forward could not be traced, so calls such as torch.sigmoid(x) are not seen; pass inputs=)"
    note = "" if graph.is_traced else untraced
    return f"{name} has no activation to replace{note}; those inside recurrent, attention and transformer layers are not exchanged"


def _list_calls(calls: list[GraphStep]) -> str:
    names = list(dict.fromkeys(f"{step.op} in {step.path or 'the network itself'}" for step in calls))
    rest = len(names) - MAX_CALLS_NAMED
    return ", ".join(names[:MAX_CALLS_NAMED]) + (f" and {rest} more" if rest > 0 else "")
