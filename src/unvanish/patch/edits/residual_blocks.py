"""Writes residual connections: `nn.Linear(w, w), nn.Tanh()` becomes `Residual(nn.Linear(w, w), nn.Tanh())`.

Where the activation is a call in `forward`, it goes into the block too: the constructor gets `Residual(nn.Linear(w, w), nn.Tanh())`
and the call is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import libcst as cst

from unvanish.patch.constructor_calls import ConstructorCall, ModuleOrigins
from unvanish.patch.edits import functional_calls
from unvanish.patch.edits.insertions import attribute_reads, is_unpacked, require_no_indexing, require_no_loading
from unvanish.patch.edits.written_definitions import name_class
from unvanish.patch.module_expressions import ModuleSpec, parse_modules
from unvanish.patch.source.parsed_file import Project, SourceFile
from unvanish.patch.text_replacements import Draft, NotExpressible, only_value
from unvanish.record.network_changes import Edit

_RESIDUAL, _GATE = "Residual(", "Gate()"


def is_residual(edits: Sequence[Edit]) -> bool:
    """Whether edits put layers into residual blocks, or gates behind the branches of residual sums."""
    return any(edit.action == "insert" and (edit.after.startswith(_RESIDUAL) or edit.after.endswith(_GATE)) for edit in edits)


def write_blocks(draft: Draft, project: Project, origins: ModuleOrigins, edits: Sequence[Edit]) -> None:
    """Writes the residual blocks of some edits. Raises NotExpressible where the source does not take one."""
    require_no_loading(project)
    calls = [edit for edit in edits if edit.calls]
    wrapped = [edit for edit in edits if edit.action == "insert"]
    removed = [edit for edit in edits if edit.action == "remove"]
    if any(edit.after.endswith(_GATE) for edit in wrapped):
        _write_gates(draft, project, origins, wrapped)
        return
    if calls:
        functional_calls.exchange(draft, project, origins, calls)
    if calls and removed:
        raise NotExpressible("some activations are modules, and others calls")
    blocks = [edit for edit in wrapped if edit.after.startswith(_RESIDUAL) or calls]  # a sequence of modules may stay as it is
    plain = [replace(edit, after=_inside(edit)) for edit in blocks]
    names = {edit.path: "Residual" if _is_block(edit) else "Sequential" for edit in blocks}
    for constructor in origins.constructor_calls(draft, plain):
        class_name = only_value((names[edit.path] for edit in constructor.edits.values()), "some layers change the shape")
        modules = [parse_modules(edit.after) for edit in constructor.edits.values()]
        only_value((", ".join(map(_text, each[1:])) for each in modules), "blocks of several kinds are built there")
        if calls:
            _wrap_with(draft, project, constructor, class_name, modules[0][1:])
        else:
            _enclose(draft, constructor, [each.class_name for each in modules[0][1:]])


def _inside(edit: Edit) -> str:
    """The modules that an edit puts together."""
    return edit.after.removeprefix(_RESIDUAL).removesuffix(")") if _is_block(edit) else edit.after


def _is_block(edit: Edit) -> bool:
    return edit.after.startswith(_RESIDUAL)


def _text(module: ModuleSpec) -> str:
    arguments = [*map(repr, module.positional), *(f"{name}={value!r}" for name, value in module.named.items())]
    return f"{module.class_name}({', '.join(arguments)})"


def _enclose(draft: Draft, constructor: ConstructorCall, following: Sequence[str]) -> None:
    """Puts a layer, and modules of the classes that follow it in its sequence, into one block."""
    source, call = constructor.source, constructor.call
    item = source.parent(call)
    sequence = source.parent(item) if item is not None else None
    items: list[cst.CSTNode] = []
    if isinstance(item, cst.Arg) and isinstance(sequence, cst.Call):
        if source.module_class(sequence.func) == "Residual":
            return
        if source.module_class(sequence.func) == "Sequential":
            items = [arg.value for arg in sequence.args]
    elif isinstance(item, cst.Element) and isinstance(sequence, cst.List | cst.Tuple) and not is_unpacked(source, sequence):
        items = [element.value for element in sequence.elements]
    position = next((index for index, each in enumerate(items) if each is call), None)
    inner = items[position + 1 : position + 1 + len(following)] if position is not None else []
    classes = [source.module_class(each.func) if isinstance(each, cst.Call) else "" for each in inner]
    if not inner or classes != list(following):
        raise NotExpressible(f"line {source.line(call)} does not show which activation follows the layer")
    last = inner[-1]
    require_no_indexing(source, call)
    name = name_class(draft, source, call.func, "Residual")
    draft.replace(source, source.start(call), source.start(call), f"{name}(")
    draft.replace(source, source.end(last), source.end(last), ")")


def _wrap_with(
    draft: Draft, project: Project, constructor: ConstructorCall, class_name: str, modules: Sequence[ModuleSpec]
) -> None:
    """Puts a layer into a block, with modules that were calls in `forward` before."""
    source, call = constructor.source, constructor.call
    if _is_wrapped(source, call, class_name):
        return
    if attribute_reads(project):
        raise NotExpressible("the source reads attributes that only the layer has")
    texts = [_text(replace(each, class_name=name_class(draft, source, call.func, each.class_name))) for each in modules]
    name = name_class(draft, source, call.func, class_name)
    draft.replace(source, source.start(call), source.start(call), f"{name}(")
    draft.replace(source, source.end(call), source.end(call), f", {', '.join(texts)})")


def _write_gates(draft: Draft, project: Project, origins: ModuleOrigins, edits: Sequence[Edit]) -> None:
    """Puts a gate behind the last module of each branch."""
    if attribute_reads(project):
        raise NotExpressible("the source reads attributes that only the layer has")
    for constructor in origins.constructor_calls(draft, edits):
        source, call = constructor.source, constructor.call
        if _is_wrapped(source, call, "Sequential"):
            continue
        sequential = name_class(draft, source, call.func, "Sequential")
        gate = name_class(draft, source, call.func, "Gate")
        draft.replace(source, source.start(call), source.start(call), f"{sequential}(")
        draft.replace(source, source.end(call), source.end(call), f", {gate}())")


def _is_wrapped(source: SourceFile, call: cst.Call, class_name: str) -> bool:
    """Whether a call is the first argument of one that builds a class."""
    arg = source.parent(call)
    outer = source.parent(arg) if isinstance(arg, cst.Arg) else None
    return (
        isinstance(outer, cst.Call)
        and source.module_class(outer.func) == class_name
        and outer.args[0] is arg
        and len(outer.args) > 1
    )
