"""Writes modules in front of others: a Standardise before the layer that takes the input, and BoundScores before a sigmoid."""

from __future__ import annotations

import re
from collections.abc import Sequence

import libcst as cst

from unvanish.patch.constructor_calls import WEIGHTED, ConstructorCall, ModuleOrigins
from unvanish.patch.edits.insertions import attribute_reads, is_repeatable, is_unpacked, require_no_indexing, require_no_loading
from unvanish.patch.edits.written_definitions import name_class
from unvanish.patch.module_expressions import parse_modules
from unvanish.patch.source.parsed_file import Project, SourceFile, find_argument
from unvanish.patch.text_replacements import Draft, NotExpressible, only_value
from unvanish.record.network_changes import Edit

_STANDARDISE = "Standardise("
_BOUNDS = re.compile(r", its input held within what has a logarithm$")
_WIDTH_NAMES = ("in_features", "in_channels", "input_size")


def is_input_module(edit: Edit) -> bool:
    """Whether an edit puts a module in front of another one."""
    return bool(edit.path) and (edit.after.startswith(_STANDARDISE) or _BOUNDS.search(edit.after) is not None)


def put_before(draft: Draft, project: Project, origins: ModuleOrigins, edits: Sequence[Edit]) -> None:
    """Puts the modules of some edits in front of others. Raises NotExpressible where the source does not take one."""
    require_no_loading(project)
    for constructor in origins.constructor_calls(draft, edits):
        source, call = constructor.source, constructor.call
        class_name, arguments = _new_module(constructor)
        if _is_before(source, call, class_name):
            continue
        text = f"{name_class(draft, source, call.func, class_name)}({arguments})"
        item = source.parent(call)
        sequence = source.parent(item) if isinstance(item, cst.Arg) else None
        is_in_sequential = isinstance(sequence, cst.Call) and source.module_class(sequence.func) == "Sequential"
        parent = source.parent(item) if isinstance(item, cst.Element) else None
        if is_in_sequential or (parent is not None and not is_unpacked(source, parent)):
            require_no_indexing(source, call)
            indent = source.indentation(source.start(call))
            between = f",{source.line_ending}{indent}" if indent is not None else ", "
            draft.replace(source, source.start(call), source.start(call), f"{text}{between}")
        elif _can_be_wrapped(project, source, call):
            sequential = name_class(draft, source, call.func, "Sequential")
            draft.replace(source, source.start(call), source.start(call), f"{sequential}({text}, ")
            draft.replace(source, source.end(call), source.end(call), ")")
        else:
            _call_before(draft, source, call, text)


def _new_module(constructor: ConstructorCall) -> tuple[str, str]:
    """The class of the module that is put in front, and its arguments."""
    edits = list(constructor.edits.values())
    if _BOUNDS.search(edits[0].after):
        before = parse_modules(only_value((edit.before for edit in edits), "modules of several kinds are built there"))[0]
        dim = before.named.get("dim")
        return "BoundScores", "" if dim is None else f"dim={dim}"
    modules = [parse_modules(edit.after)[0] for edit in edits]
    named = only_value(
        ("".join(f", {name}={value!r}" for name, value in each.named.items()) for each in modules), "layers differ there"
    )
    arg = next((arg for name in _WIDTH_NAMES if (arg := find_argument(constructor.call, name, 0)) is not None), None)
    if arg is not None and is_repeatable(arg.value):
        return "Standardise", f"{constructor.source.code_of(arg.value)}{named}"
    return "Standardise", only_value(
        (str(each.positional[0]) for each in modules), "layers of several widths are built there"
    ) + named


def _is_before(source: SourceFile, call: cst.Call, class_name: str) -> bool:
    """Whether a module of a class stands in front already."""
    item = source.parent(call)
    parent = source.parent(item) if item is not None else None
    items: list[cst.CSTNode] = []
    if isinstance(parent, cst.Call):
        items = [arg.value for arg in parent.args]
    elif isinstance(parent, cst.List | cst.Tuple):
        items = [element.value for element in parent.elements]
    position = next((index for index, each in enumerate(items) if each is call), 0)
    earlier = items[position - 1] if position else None
    if isinstance(earlier, cst.Call) and source.module_class(earlier.func) == class_name:
        return True
    statement = source.statement_of(call)
    name = _attribute(source, statement)
    uses = [each for each in source.calls if name and source.code_of(each.func) == f"{name}_input"]
    return bool(uses)


def _can_be_wrapped(project: Project, source: SourceFile, call: cst.Call) -> bool:
    """Whether a module may become a part of an nn.Sequential: it takes and gives one tensor, and nothing reads its attributes."""
    class_name = source.module_class(call.func)
    return (class_name in WEIGHTED and not attribute_reads(project)) or class_name in ("Sigmoid", "Softmax")


def _attribute(source: SourceFile, statement: cst.CSTNode | None) -> str:
    """The attribute of self to which a statement assigns; "" where it assigns to anything else."""
    if isinstance(statement, cst.Assign) and len(statement.targets) == 1:
        target = statement.targets[0].target
        if isinstance(target, cst.Attribute) and isinstance(target.value, cst.Name) and target.value.value == "self":
            return source.code_of(target)
    return ""


def _call_before(draft: Draft, source: SourceFile, call: cst.Call, text: str) -> None:
    """Gives the module an attribute of its own, `self.rnn_input`, and calls it on what the layer is called with."""
    statement = source.statement_of(call)
    name = _attribute(source, statement)
    indent = source.indentation(source.start(statement)) if statement is not None else None
    uses = [each for each in source.calls if name and source.code_of(each.func) == name]
    if statement is None or not name or indent is None or source.parent(call) is not statement or not uses:
        raise NotExpressible(f"line {source.line(call)} builds its layer in no attribute of its own")
    new = f"{name}_input"
    draft.insert(source, source.end(statement), f"{source.line_ending}{indent}{new} = {text}")
    for use in uses:
        first = use.args[0] if use.args else None
        if first is None or first.star or first.keyword is not None:
            raise NotExpressible(f"line {source.line(use)} does not say what the layer takes")
        draft.replace(source, source.start(first.value), source.start(first.value), f"{new}(")
        draft.replace(source, source.end(first.value), source.end(first.value), ")")
