"""Puts modules in the place of others once the network is built: `self.act = nn.ReLU()` at the end of the constructor.

It is for modules that cannot be changed where they are built: several come from one line, or the source reads their weights.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import libcst as cst

from unvanish.patch.constructor_calls import WEIGHTED, ModuleOrigins
from unvanish.patch.edits.insertions import attribute_reads, require_no_loading
from unvanish.patch.edits.value_lines import MODULE, ValueLines
from unvanish.patch.edits.written_definitions import name_definition
from unvanish.patch.later_initialisation import drawing_functions
from unvanish.patch.module_expressions import ACTIVATIONS, ModuleSpec, activation_arguments, normalisation_arguments, parse_modules
from unvanish.patch.module_loops import LoopNames, ModuleStatements
from unvanish.patch.module_tree import ModuleTree
from unvanish.patch.network_places import NetworkPlace, network_places
from unvanish.patch.placed_statements import place_statements
from unvanish.patch.source.definitions import DEFINED_CLASSES
from unvanish.patch.source.parsed_file import Project, SourceFile
from unvanish.patch.source.torch_names import name_or_import
from unvanish.patch.text_replacements import Draft, NotExpressible
from unvanish.record.network_changes import Edit, Plan, PlanStep

_NOTHING = "None"
_SETTING = re.compile(r"[a-z_]+=(?:True|False|-?[\d.]+(?:e-?\d+)?)")


def reassign(draft: Draft, project: Project, origins: ModuleOrigins, plan: Plan, step: PlanStep, edits: Sequence[Edit]) -> None:
    """Adds lines where the network is built that put the modules of some edits in their places.

    Raises NotExpressible where that cannot be written, or would not be the same.
    """
    require_no_loading(project)
    paths = [draft.aliases.get(edit.path, edit.path) for edit in edits]
    if any(origins.by_path[path].is_shared for path in paths if path in origins.by_path):
        raise NotExpressible("a module that would be put elsewhere stands in several places")
    tree = ModuleTree(origins.by_path, Plan(plan.remedies, tuple(each for each in plan.steps if each is not step)))

    def write(attempt: Draft, place: NetworkPlace, names: LoopNames) -> list[str]:
        lines: list[str] = []
        for assigns in (False, True):
            chosen = [(path, edit) for path, edit in zip(paths, edits, strict=True) if is_setting(edit) is not assigns]
            by_path = {path: ValueLines((_line(attempt, place, edit),)) for path, edit in chosen}
            lines += ModuleStatements(tree, place.expression, names, str, assigns=assigns).lines(by_path)
        return lines

    def require_no_later_reads() -> None:
        if any(
            edit.action == "insert" and edit.before != _NOTHING and parse_modules(edit.after)[0].class_name in WEIGHTED
            for edit in edits
        ):
            _require_no_later_reads(project, origins)

    place_statements(draft, network_places(project, origins, None, paths), write, require=require_no_later_reads)
    for edit in edits:
        if edit.action == "insert" and edit.before != _NOTHING:
            is_behind = parse_modules(edit.after)[0].class_name in WEIGHTED
            draft.aliases[f"{edit.path}.{0 if is_behind else 1}"] = draft.aliases.get(edit.path, edit.path)


def is_setting(edit: Edit) -> bool:
    """Whether an edit sets an attribute of a module to a plain value, such as "norm_first=True"."""
    return edit.action == "set" and _SETTING.fullmatch(edit.after) is not None


def _line(draft: Draft, place: NetworkPlace, edit: Edit) -> str:
    """The statement that puts a module in its place, or sets its attribute."""
    if is_setting(edit):
        name, _, value = edit.after.partition("=")
        return f"{MODULE}.{name} = {value}"
    modules = parse_modules(edit.after)
    if edit.action != "insert" or edit.before == _NOTHING:
        if len(modules) != 1:
            raise NotExpressible("several modules come in the place of one")
        return f"{MODULE} = {_code(draft, place, modules[0], '')}"
    if len(modules) != 2:
        raise NotExpressible("what is put in is no single module")
    sequential = name_or_import(draft, place.source, place.scope, "torch.nn.Sequential")
    first, second = modules
    if first.class_name in WEIGHTED:
        width = f"{MODULE}.{'out_features' if first.class_name == 'Linear' else 'out_channels'}"
        return f"{MODULE} = {sequential}({MODULE}, {_code(draft, place, second, width)})"
    return f"{MODULE} = {sequential}({_code(draft, place, first, '')}, {MODULE})"


def _code(draft: Draft, place: NetworkPlace, module: ModuleSpec, width: str) -> str:
    """The code that builds a module; a normalisation has a width, its own where none is passed."""
    if module.class_name in ACTIVATIONS:
        arguments = activation_arguments(module)
    else:
        last = module.positional[-1] if module.positional else ""
        own = last[-1] if isinstance(last, tuple) else last
        arguments = normalisation_arguments(module, width or str(own))
    if module.class_name in DEFINED_CLASSES:
        return f"{name_definition(draft, place.source, module.class_name)}({arguments})"
    return f"{name_or_import(draft, place.source, place.scope, f'torch.nn.{module.class_name}')}({arguments})"


def _require_no_later_reads(project: Project, origins: ModuleOrigins) -> None:
    """Raises NotExpressible where code that runs once the network is built may read what only a bare layer has."""
    built_classes = {origin.class_name for origin in origins.by_path.values()}
    drawing = drawing_functions(project, origins.root.class_name if origins.root is not None else "")
    for source, node in attribute_reads(project):
        if not _is_early(source, node, built_classes, drawing):
            raise NotExpressible(f"line {source.line(node)} of {source.path.name} reads {node.attr.value} of a layer")


def _is_early(source: SourceFile, node: cst.Attribute, built_classes: set[str], drawing: set[str]) -> bool:
    """Whether an expression is read while the network is built: in a constructor of its classes, or in what draws its weights."""
    function, owner = source.enclosing(node, cst.FunctionDef), source.enclosing(node, cst.ClassDef)
    if function is None:
        return False
    is_constructor = owner is not None and owner.name.value in built_classes and function.name.value == "__init__"
    return is_constructor or function.name.value in drawing
