"""Replaces modules where they are built: `nn.Sigmoid()` becomes `nn.ReLU()`, and `act=nn.Sigmoid` becomes `act=nn.ReLU`."""

from __future__ import annotations

from collections.abc import Sequence

import libcst as cst

from unvanish.patch.constructor_calls import ConstructorCall, ModuleOrigins
from unvanish.patch.edits.name_lookups import change_key, choice_around, choice_at
from unvanish.patch.edits.written_definitions import replace_class
from unvanish.patch.module_expressions import (
    ACTIVATIONS,
    NORMALISATIONS,
    ModuleSpec,
    activation_arguments,
    has_default_argument,
    normalisation_arguments,
    parse_modules,
)
from unvanish.patch.source.arguments import change_arguments, replace_arguments
from unvanish.patch.source.definitions import DEFINED_CLASSES
from unvanish.patch.source.parsed_file import Project, find_argument, has_star_arguments
from unvanish.patch.source.value_flow import Place, ValueFlow
from unvanish.patch.text_replacements import Draft, NotExpressible, only_value
from unvanish.record.network_changes import Edit

_WIDTH_NAMES = {"LayerNorm": "normalized_shape", "RMSNorm": "normalized_shape"}


def exchange(draft: Draft, project: Project, origins: ModuleOrigins, edits: Sequence[Edit]) -> None:
    """Changes the calls that built some modules to build their replacements. Raises NotExpressible where they cannot."""
    flow = ValueFlow(project, origins.is_module_class)
    places: dict[int, tuple[Place, str, str]] = {}
    for constructor in origins.constructor_calls(draft, edits):
        before = only_value((edit.before for edit in constructor.edits.values()), "modules of several kinds are built there")
        (old,) = parse_modules(before)
        new = _new_module(constructor)
        if constructor.source.module_class(constructor.call.func) == old.class_name:
            _exchange_direct_call(draft, project, constructor, old, new)
        elif constructor.source.module_class(constructor.call.func) != new.class_name:
            _require_default_arguments(constructor, new)
            for place in flow.origins(constructor.source, constructor.call.func):
                places[id(place[1])] = (place, old.class_name, new.class_name)
    if places and not flow.is_exclusive():
        raise NotExpressible("the class is read in other places too")
    for place, old_class, new_class in places.values():
        _rename_origin(draft, project, place, old_class, new_class)


def _rename_origin(draft: Draft, project: Project, place: Place, old: str, new: str) -> None:
    """Renames a class where its name is written, or the key that chooses it; a place with a third class stays as it is."""
    source, node = place
    choice = choice_at(project, source, node)
    if choice is not None:
        change_key(draft, project, source, choice, old, new)
    elif source.module_class(node) == old:
        replace_class(draft, source, node, new)


def _new_module(constructor: ConstructorCall) -> ModuleSpec:
    """The module that a call is to build. Edits of several widths agree where the class and its own settings do."""
    replacements = [parse_modules(edit.after) for edit in constructor.edits.values()]
    if any(len(modules) != 1 for modules in replacements):
        raise NotExpressible("several modules come in the place of one")
    modules = [modules[0] for modules in replacements]
    without_width = {(m.class_name, m.positional[:-1] if m.class_name in NORMALISATIONS else m.positional) for m in modules}
    if len(without_width) != 1:
        raise NotExpressible(f"line {constructor.source.line(constructor.call)} would have to build several kinds of modules")
    return modules[0]


def _exchange_direct_call(draft: Draft, project: Project, constructor: ConstructorCall, old: ModuleSpec, new: ModuleSpec) -> None:
    """Changes a call that names the class of the module."""
    source, call = constructor.source, constructor.call
    choice = choice_around(source, call, old.class_name)
    if choice is not None:
        change_key(draft, project, source, choice, old.class_name, new.class_name)
        return
    if new.class_name == "Identity" and _remove_last(draft, constructor):
        return
    if new.class_name in ACTIVATIONS:
        replace_arguments(draft, source, call, activation_arguments(new))
    elif old.class_name in NORMALISATIONS - {"GroupNorm"}:
        width = find_argument(call, _WIDTH_NAMES.get(old.class_name, "num_features"), 0)
        if width is None or has_star_arguments(call):
            raise NotExpressible(f"line {source.line(call)} does not say how many features it normalises")
        replace_arguments(draft, source, call, normalisation_arguments(new, source.code_of(width.value)))
    else:
        raise NotExpressible(f"{new.class_name} has to be put there by hand")
    replace_class(draft, source, call.func, new.class_name)


def _remove_last(draft: Draft, constructor: ConstructorCall) -> bool:
    """Removes a module from the end of an nn.Sequential that is written out; False where it is not there."""
    source, call = constructor.source, constructor.call
    arg = source.parent(call)
    sequential = source.parent(arg) if isinstance(arg, cst.Arg) else None
    if not isinstance(arg, cst.Arg) or not isinstance(sequential, cst.Call) or source.module_class(sequential.func) != "Sequential":
        return False
    if (
        len(sequential.args) < 2
        or sequential.args[-1] is not arg
        or any(edit.action != "remove" for edit in constructor.edits.values())
    ):
        return False
    change_arguments(draft, source, sequential, drop=[arg])
    return True


def _require_default_arguments(constructor: ConstructorCall, new: ModuleSpec) -> None:
    """Raises NotExpressible where the class alone does not specify the new module."""
    source, call = constructor.source, constructor.call
    if new.class_name in ACTIVATIONS and has_default_argument(new) and not call.args:
        return
    if (
        new.class_name in NORMALISATIONS - {"GroupNorm"}
        and not (new.class_name in DEFINED_CLASSES and new.named)
        and len(call.args) == 1
        and not has_star_arguments(call)
        and call.args[0].keyword is None
    ):
        return
    raise NotExpressible(
        f"line {source.line(call)} builds {new.class_name} from a class that is passed to it, with other arguments"
    )
