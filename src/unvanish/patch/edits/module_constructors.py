"""Modules exchanged where they are built: `nn.Sigmoid()` becomes `nn.ReLU()`, and `act=nn.Sigmoid` becomes `act=nn.ReLU`."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from unvanish.patch.draft import Draft, Unsayable, only
from unvanish.patch.edits.choices import choice_around, choice_at, choose
from unvanish.patch.module_calls import Births, Building
from unvanish.patch.module_spelling import (
    ACTIVATIONS,
    BATCH_NORMS,
    NORMALISATIONS,
    Module,
    activation_arguments,
    is_plain,
    modules_of,
    normalisation_arguments,
)
from unvanish.patch.source.arguments import altered, exchanged
from unvanish.patch.source.parsed_file import Project, argument, starred
from unvanish.patch.source.torch_names import renamed_class
from unvanish.patch.source.value_flow import Flow, Place
from unvanish.record.change import Edit


def exchange(draft: Draft, project: Project, births: Births, edits: Sequence[Edit]) -> None:
    """Has the calls that built some modules build what the edits put in their place. Raises Unsayable where they cannot say it."""
    flow = Flow(project, births.told)
    origins: dict[int, tuple[Place, str, str]] = {}
    for building in births.buildings(draft, edits):
        (old,) = modules_of(only((e.before for e in building.edits.values()), "modules of several kinds are built there"))
        new = _new(building)
        if building.source.module_class(building.call.func) == old.kind:
            _exchange_named(draft, project, building, old, new)
        elif building.source.module_class(building.call.func) != new.kind:
            _require_no_more_than_class(building, new)
            for place in flow.origins(building.source, building.call.func):
                origins[id(place[1])] = (place, old.kind, new.kind)
    if origins and not flow.closed():
        raise Unsayable("the class is read in other places too")
    for place, old_kind, new_kind in origins.values():
        _rename(draft, project, place, old_kind, new_kind)


def _rename(draft: Draft, project: Project, place: Place, old: str, new: str) -> None:
    """Has a place that writes down a class, or has a word choose it, write down another; one that has a third class stays."""
    source, node = place
    choice = choice_at(project, source, node)
    if choice is not None:
        choose(draft, project, source, choice, old, new)
    elif source.module_class(node) == old:
        renamed_class(draft, source, node, new)


def _new(building: Building) -> Module:
    """What a call is to build. Edits of several widths agree where the class and its own settings do."""
    found = [modules_of(edit.after) for edit in building.edits.values()]
    if any(len(each) != 1 for each in found):
        raise Unsayable("several modules come in the place of one")
    kinds = {(each[0].kind, each[0].positional[:-1] if each[0].kind in NORMALISATIONS else each[0].positional) for each in found}
    if len(kinds) != 1:
        raise Unsayable(f"line {building.source.line(building.call)} would have to build several kinds of modules")
    return found[0][0]


def _exchange_named(draft: Draft, project: Project, building: Building, old: Module, new: Module) -> None:
    source, call = building.source, building.call
    choice = choice_around(source, call, old.kind)
    if choice is not None:
        choose(draft, project, source, choice, old.kind, new.kind)
        return
    if new.kind == "Identity" and _removed(draft, building):
        return
    if new.kind in ACTIVATIONS:
        exchanged(draft, source, call, activation_arguments(new))
    elif old.kind in BATCH_NORMS:
        width = argument(call, "num_features", 0)
        if width is None or starred(call):
            raise Unsayable(f"line {source.line(call)} does not say how many features it normalises")
        exchanged(draft, source, call, normalisation_arguments(new, source.written(width.value)))
    else:
        raise Unsayable(f"{new.kind} has to be put there by hand")
    renamed_class(draft, source, call.func, new.kind)


def _removed(draft: Draft, building: Building) -> bool:
    """Takes a module out of the end of an nn.Sequential that is written out; False where it is not there."""
    source, call = building.source, building.call
    arg = source.parent(call)
    holder = source.parent(arg) if isinstance(arg, cst.Arg) else None
    if not isinstance(arg, cst.Arg) or not isinstance(holder, cst.Call) or source.module_class(holder.func) != "Sequential":
        return False
    if len(holder.args) < 2 or holder.args[-1] is not arg or any(edit.action != "remove" for edit in building.edits.values()):
        return False
    altered(draft, source, holder, drop=[arg])
    return True


def _require_no_more_than_class(building: Building, new: Module) -> None:
    """Raises Unsayable where a value that is a class cannot say all of the new module."""
    source, call = building.source, building.call
    if new.kind in ACTIVATIONS and is_plain(new) and not call.args:
        return
    if new.kind in NORMALISATIONS - {"GroupNorm"} and len(call.args) == 1 and not starred(call) and call.args[0].keyword is None:
        return
    raise Unsayable(f"line {source.line(call)} builds {new.kind} from a class that is passed to it, with other arguments")
