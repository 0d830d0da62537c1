"""Which recurrence of a network may be exchanged, torch's own modules and hand-written cells alike, and why the rest may not.

It alters nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import CodeType, FunctionType
from typing import Any

from torch import nn

from unvanish.errors import NotApplicable
from unvanish.remedies.base import Context
from unvanish.remedies.edits.module_edits import Place, places
from unvanish.remedies.graph.forward_graph import ForwardGraph
from unvanish.remedies.graph.kinds import WEIGHTED
from unvanish.remedies.graph.model_copy import model_copy, without_trace
from unvanish.remedies.graph.shape_probe import fed
from unvanish.remedies.graph.trace_graph import trace_graph
from unvanish.remedies.structure import custom_cell_calls, custom_cell_formula
from unvanish.remedies.structure.custom_cells import CustomCell, NoCell, ReplacedCell, candidates, obstacle
from unvanish.remedies.structure.recurrence import Vanilla, gated, listed, loops, shown, untouchable, vanilla


@dataclass(frozen=True, slots=True)
class Recurrence:
    """What may be exchanged: torch's vanilla modules, and hand-written cells, with path and places, in order of registration."""

    modules: tuple[tuple[str, Vanilla, tuple[Place, ...]], ...]
    cells: tuple[tuple[str, CustomCell, tuple[Place, ...]], ...]


def exchangeable(network: nn.Module, context: Context, *, remedy: str) -> Recurrence:
    """The vanilla recurrence that may be exchanged. Raises NotApplicable, in the name of `remedy`, for none, and where the network
    is the recurrence itself."""
    modules, (cells, refused) = vanilla(network), _own_cells(network, context.inputs)
    if not modules and not cells:
        raise NotApplicable(f"{remedy}: {why_none(network, context.inputs, refused=refused)}")
    if modules and modules[0][1] is network:
        raise NotApplicable(f"{remedy}: {_itself(network)}")
    hung = places(network)
    return Recurrence(
        tuple((path, module, hung[module]) for path, module in modules),
        tuple((path, cell, hung[cell.module]) for path, cell in cells.items()),
    )


def own_cells(network: nn.Module, inputs: Any) -> dict[str, CustomCell]:
    """The hand-written vanilla cells that may be exchanged, by path. With inputs they are told by the calls of one pass, without by
    what they compute. Of two, one inside the other, the inner one counts. Raises UsageError where the inputs do not fit."""
    return _own_cells(network, inputs)[0]


def why_none(network: nn.Module, inputs: Any, *, refused: Mapping[str, str] | None = None) -> str:
    """Why a network has no vanilla recurrence in a module that may be touched, as the middle of a sentence, and what to do instead.

    `refused` has reasons of hand-written cells by path, where the remedy exchanges those.
    """
    name = type(network).__name__
    if kept := untouchable(network):
        return f"no recurrent module of {name} may be touched: {listed(kept)}; give it weights of its own that train"
    if found := gated(network):
        kinds = listed([f"{shown(path)}: {type(m).__name__}" for path, m in found])
        return f"the recurrence of {name} is gated already ({kinds}); forget-bias tells it how long to remember"
    if refused:
        reasons = listed([f"{shown(path)} ({type(network.get_submodule(path)).__name__}) {why}" for path, why in refused.items()])
        return f"{name} has what looks like a recurrent cell of its own, and must stay: {reasons}; or call nn.GRUCell there"
    if _is_cell(network):
        return _itself(network)
    layout = trace_graph(network, inputs)
    if written := loops(layout, direct=False):
        runs = listed([f"{layout.steps[layout.positions(m)[0]].path!r} runs {len(layout.positions(m))} times" for m in written])
        return (
            f"{name} has a recurrence written by hand ({runs} in one pass, on its own earlier results), which cannot be exchanged "
            "for a module; call nn.GRUCell in that loop, or nn.GRU on the whole sequence"
        )
    made_of = listed(sorted({type(m).__name__ for m in network.modules() if next(m.parameters(recurse=False), None) is not None}))
    advice = (
        "nothing is left to do"
        if layout.traced
        else "a loop written by hand was not looked for, since forward could not be traced: pass inputs="
    )
    return f"{name} has no recurrence ({made_of or 'no weights at all'}), so nothing vanishes through time; {advice}"


def refuse_misfits(network: nn.Module, inputs: Any, changes: Sequence[ReplacedCell], *, remedy: str) -> None:
    """Raises NotApplicable where a copy of the network with the new cells does not run on the inputs: it asks more of its cells."""
    try:
        with without_trace():
            double = model_copy(network)
            hung = places(double)
            for change in changes:
                new = copy.deepcopy(change.new)
                for parameter in new.parameters():
                    parameter.zero_()
                for parent, name in hung[double.get_submodule(change.path)]:
                    parent.register_module(name, new)
            fed(double, inputs)
    except Exception as fault:  # the user's forward may raise anything
        raise NotApplicable(
            f"{remedy}: {type(network).__name__} asks more of {listed([repr(each.path) for each in changes])} than a step "
            f"({type(fault).__name__}: {fault}); let it call the cell and read nothing inside it"
        ) from fault


def _own_cells(network: nn.Module, inputs: Any) -> tuple[dict[str, CustomCell], dict[str, str]]:
    """The cells by path, and why others that look like one are none."""
    possible = candidates(network)
    found, refused = dict[str, CustomCell](), dict[str, str]()
    if not possible:
        return found, refused
    seen = None if inputs is None else custom_cell_calls.calls(network, inputs, possible)
    for path, module in reversed(possible.items()):  # what is inside comes after what it is in
        if any(inner.startswith(f"{path}.") for inner in found) or (seen is not None and path not in seen):
            continue
        try:
            cell = custom_cell_formula.read(module) if seen is None else custom_cell_calls.recognised(module, seen[path])
            if held := obstacle(module, network):
                raise NoCell(held)
            found[path] = cell
        except NoCell as why:
            refused |= {path: str(why)} if str(why) else {}
    if found and seen is None:
        layout = trace_graph(network)
        found = {
            path: replace(cell, renamed=_names_arguments(network, cell.names))
            for path, cell in found.items()
            if _may_recur(layout, cell.module)
        }
    return dict(reversed(found.items())), dict(reversed(refused.items()))


def _may_recur(layout: ForwardGraph, cell: nn.Module) -> bool:
    """Whether nothing speaks against a module running again on its own results: where the network can be traced, that is seen."""
    layers = {module for module in cell.modules() if isinstance(module, WEIGHTED)}
    return not layers or not layout.traced or not layers.isdisjoint(loops(layout, direct=False))


def _names_arguments(network: nn.Module, names: tuple[str, str]) -> bool:
    """Whether some method of the network's own classes may pass arguments by one of these names. It may say so in vain."""
    kinds = {kind for module in network.modules() for kind in type(module).__mro__ if kind not in nn.Module.__mro__}
    codes = [value.__code__ for kind in kinds for value in vars(kind).values() if isinstance(value, FunctionType)]
    while codes:
        for constant in codes.pop().co_consts:  # a call with named arguments has their names as one constant
            if isinstance(constant, CodeType):
                codes.append(constant)
            elif isinstance(constant, tuple) and not {*names}.isdisjoint(constant):
                return True
    return False


def _itself(network: nn.Module) -> str:
    return f"{type(network).__name__} is itself the recurrence, so there is no place to put another; give the network that holds it"


def _is_cell(network: nn.Module) -> bool:
    if type(network).__module__.startswith("torch."):
        return False
    try:
        custom_cell_formula.read(network)
    except NoCell:
        return False
    return True
