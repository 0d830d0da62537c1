"""Finds the vanilla recurrence of a network that can be replaced, in torch's modules and hand-written cells; explains the rest."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import CodeType, FunctionType
from typing import Any

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.network.module_kinds import WEIGHTED
from unvanish.remedies.base import Context
from unvanish.remedies.edits.module_edits import Place, module_places
from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.graph.model_copy import model_copy, without_side_effects
from unvanish.remedies.graph.shape_probe import call_with_inputs
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.structure import custom_cell_calls, custom_cell_formula
from unvanish.remedies.structure.custom_cells import (
    CellNotReplaceable,
    CustomCell,
    ReplacedCell,
    possible_cells,
    reason_not_replaceable,
)
from unvanish.remedies.structure.recurrence import (
    VanillaModule,
    format_list,
    format_path,
    gated_modules,
    layers_in_loops,
    reasons_not_replaceable,
    replaceable_vanilla_modules,
)


@dataclass(frozen=True, slots=True)
class ReplaceableRecurrence:
    """The vanilla modules and hand-written cells that can be replaced, with path and places, in order of registration."""

    modules: tuple[tuple[str, VanillaModule, tuple[Place, ...]], ...]
    cells: tuple[tuple[str, CustomCell, tuple[Place, ...]], ...]


def find_replaceable_recurrence(network: nn.Module, context: Context, *, remedy: str) -> ReplaceableRecurrence:
    """The vanilla recurrence of a network that can be replaced.

    Raises NotApplicable, in the name of `remedy`, where there is none, and where the network itself is the recurrent module.
    """
    modules, (cells, refused) = replaceable_vanilla_modules(network), _replaceable_and_refused_cells(network, context.inputs)
    if not modules and not cells:
        raise NotApplicable(f"{remedy}: {explain_no_recurrence(network, context.inputs, refused=refused)}")
    if modules and modules[0][1] is network:
        raise NotApplicable(f"{remedy}: {_network_is_recurrence(network)}")
    places = module_places(network)
    return ReplaceableRecurrence(
        tuple((path, module, places[module]) for path, module in modules),
        tuple((path, cell, places[cell.module]) for path, cell in cells.items()),
    )


def find_custom_cells(network: nn.Module, inputs: Any) -> dict[str, CustomCell]:
    """The hand-written vanilla cells that can be replaced, by path.

    With `inputs` (one batch) they are recognised by their calls in one forward pass of a copy, without by what they compute. Of two
    cells, one inside the other, the inner one counts. Raises UsageError where the network does not accept the inputs.
    """
    return _replaceable_and_refused_cells(network, inputs)[0]


def explain_no_recurrence(network: nn.Module, inputs: Any, *, refused: Mapping[str, str] | None = None) -> str:
    """Why a network has no vanilla recurrence that can be replaced, as the middle of a sentence, and what to do instead.

    Arguments:
        network: the network.
        inputs: one batch, or None.
        refused: why hand-written cells cannot be replaced, by path; for remedies that replace them.
    """
    name = type(network).__name__
    if frozen_or_shared := reasons_not_replaceable(network):
        return (
            f"no recurrent module of {name} may be touched: {format_list(frozen_or_shared)}; give it weights of its own that train"
        )
    if gated := gated_modules(network):
        kinds = format_list([f"{format_path(path)}: {type(m).__name__}" for path, m in gated])
        return f"the recurrence of {name} is gated already ({kinds}); forget-bias tells it how long to remember"
    if refused:
        reasons = format_list(
            [f"{format_path(path)} ({type(network.get_submodule(path)).__name__}) {reason}" for path, reason in refused.items()]
        )
        return f"{name} has what looks like a recurrent cell of its own, and must stay: {reasons}; or call nn.GRUCell there"
    if _is_custom_cell(network):
        return _network_is_recurrence(network)
    graph = trace_graph(network, inputs)
    if looping := layers_in_loops(graph, direct=False):
        runs = format_list([f"{graph.steps[graph.positions(m)[0]].path!r} runs {len(graph.positions(m))} times" for m in looping])
        return (
            f"{name} has a recurrence written by hand ({runs} in one pass, on its own earlier results), which cannot be exchanged "
            "for a module; call nn.GRUCell in that loop, or nn.GRU on the whole sequence"
        )
    module_kinds = format_list(
        sorted({type(m).__name__ for m in network.modules() if next(m.parameters(recurse=False), None) is not None})
    )
    advice = (
        "nothing is left to do"
        if graph.is_traced
        else "a loop written by hand was not looked for, since forward could not be traced: pass inputs="
    )
    return f"{name} has no recurrence ({module_kinds or 'no weights at all'}), so nothing vanishes through time; {advice}"


def require_cells_fit(network: nn.Module, inputs: Any, changes: Sequence[ReplacedCell], *, remedy: str) -> None:
    """Raises NotApplicable where a copy of the network with the new cells fails on the inputs, since it uses more of its cells."""
    try:
        with without_side_effects():
            network_copy = model_copy(network)
            places = module_places(network_copy)
            for change in changes:
                new = copy.deepcopy(change.new)
                for parameter in new.parameters():
                    parameter.zero_()
                for parent, name in places[network_copy.get_submodule(change.path)]:
                    parent.register_module(name, new)
            call_with_inputs(network_copy, inputs)
    except Exception as error:  # the user's forward may raise anything
        raise NotApplicable(
            f"{remedy}: {type(network).__name__} asks more of {format_list([repr(change.path) for change in changes])} than a step "
            f"({type(error).__name__}: {error}); let it call the cell and read nothing inside it"
        ) from error


def _replaceable_and_refused_cells(network: nn.Module, inputs: Any) -> tuple[dict[str, CustomCell], dict[str, str]]:
    """The cells that can be replaced, and why others that look like cells cannot, both by path."""
    candidates = possible_cells(network)
    cells, refused = dict[str, CustomCell](), dict[str, str]()
    if not candidates:
        return cells, refused
    calls = None if inputs is None else custom_cell_calls.record_calls(network, inputs, candidates)
    for path, module in reversed(candidates.items()):  # inner modules come after those that contain them
        if any(inner.startswith(f"{path}.") for inner in cells) or (calls is not None and path not in calls):
            continue
        try:
            cell = (
                custom_cell_formula.recognise_by_formula(module)
                if calls is None
                else custom_cell_calls.recognise_by_calls(module, calls[path])
            )
            if reason := reason_not_replaceable(module, network):
                raise CellNotReplaceable(reason)
            cells[path] = cell
        except CellNotReplaceable as refusal:
            refused |= {path: str(refusal)} if str(refusal) else {}
    if cells and calls is None:
        graph = trace_graph(network)
        cells = {
            path: replace(cell, called_by_name=_may_call_by_name(network, cell.argument_names))
            for path, cell in cells.items()
            if _may_recur(graph, cell.module)
        }
    return dict(reversed(cells.items())), dict(reversed(refused.items()))


def _may_recur(graph: ForwardGraph, cell: nn.Module) -> bool:
    """Whether a module may run on its own results; certain only where the network can be traced."""
    layers = {module for module in cell.modules() if isinstance(module, WEIGHTED)}
    return not layers or not graph.is_traced or not layers.isdisjoint(layers_in_loops(graph, direct=False))


def _may_call_by_name(network: nn.Module, names: tuple[str, str]) -> bool:
    """Whether a method of the network's own classes may pass arguments by one of these names. False positives are possible."""
    kinds = {kind for module in network.modules() for kind in type(module).__mro__ if kind not in nn.Module.__mro__}
    codes = [value.__code__ for kind in kinds for value in vars(kind).values() if isinstance(value, FunctionType)]
    while codes:
        for constant in codes.pop().co_consts:  # a call with named arguments has their names as one constant
            if isinstance(constant, CodeType):
                codes.append(constant)
            elif isinstance(constant, tuple) and not {*names}.isdisjoint(constant):
                return True
    return False


def _network_is_recurrence(network: nn.Module) -> str:
    return f"{type(network).__name__} is itself the recurrence, so there is no place to put another; give the network that holds it"


def _is_custom_cell(network: nn.Module) -> bool:
    if type(network).__module__.startswith("torch."):
        return False
    try:
        custom_cell_formula.recognise_by_formula(network)
    except CellNotReplaceable:
        return False
    return True
