"""Normalisations put in where the layers are built: `nn.Linear(a, b), nn.Sigmoid()` becomes `nn.Linear(a, b), nn.BatchNorm1d(b),
nn.Sigmoid()`, and a layer whose activation is a call becomes `nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b))`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import libcst as cst

from unvanish.patch.draft import Draft, Unsayable, only
from unvanish.patch.module_calls import WEIGHTED, Births, Building
from unvanish.patch.module_spelling import NORMALISATIONS, Module, features_of, modules_of, normalisation_arguments
from unvanish.patch.source.parsed_file import Project, Source, argument, number, starred
from unvanish.patch.source.torch_names import class_like
from unvanish.record.change import Edit

_NEUTRAL = frozenset({"Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "Identity"})
_READ = frozenset({"weight", "bias", "in_features", "out_features", "in_channels", "out_channels", "kernel_size"})
"""What code reads of a layer, and would not find on an nn.Sequential around it."""


@dataclass(frozen=True, slots=True)
class _Before:
    """The call in front of which a normalisation is to stand, and the layer that feeds it."""

    source: Source
    call: cst.Call
    layer: cst.Call
    norm: Module


def insert(draft: Draft, project: Project, births: Births, edits: Sequence[Edit]) -> None:
    """Puts the normalisations of some edits into the source. Raises Unsayable where one cannot be put in place."""
    require_no_loading(project)
    for building in births.buildings(draft, edits):
        new = [modules_of(edit.after) for edit in building.edits.values()]
        if any(len(each) != 2 for each in new):
            raise Unsayable("what is put in is no single module")
        kind = only((pair[0].kind for pair in new), "different modules are put in there")
        only(("".join(map(_settings, pair)) for pair in new), "normalisations of several settings are put in there")
        if kind in WEIGHTED:
            _wrap(draft, project, building)
        else:
            _stand_before(draft, births, building)
    for edit in edits:
        path = draft.aliases.get(edit.path, edit.path)
        first = modules_of(edit.after)[0].kind
        draft.aliases[f"{edit.path}.{0 if first in WEIGHTED else 1}"] = path


def _settings(module: Module) -> str:
    """What a normalisation is built with besides its width; "" for any other module."""
    return f"{module.kind}{module.positional[:-1]}" if module.kind in NORMALISATIONS else ""


def require_no_loading(project: Project) -> None:
    """Raises Unsayable where the source loads weights: a network of another structure could not take them."""
    if any(each.attr.value == "load_state_dict" for source in project.known() for each in source.all_of(cst.Attribute)):
        raise Unsayable("the source loads weights, which have to fit the network as it is built")


# Between a layer and its activation


def _stand_before(draft: Draft, births: Births, building: Building) -> None:
    source, call = building.source, building.call
    before = source.module_class(_previous(source, call, skip=frozenset()).func)
    if before == modules_of(next(iter(building.edits.values())).after)[0].kind:
        return
    found = _before(births, draft, building)
    _require_uncounted(source, call)
    width = _width(source, found.layer, found.norm)
    text = f"{class_like(draft, source, call.func, found.norm.kind)}({normalisation_arguments(found.norm, width)})"
    statement = _appended(source, call)
    if statement is not None:
        indent = source.indentation(source.start(statement))
        if indent is None:
            raise Unsayable(f"line {source.line(call)} has several statements")
        holder = source.written(statement.func)
        draft.put(source, source.start(statement), source.start(statement), f"{holder}({text}){source.ending}{indent}")
        return
    indent = source.indentation(source.start(call))
    between = f",{source.ending}{indent}" if indent is not None else ", "
    draft.put(source, source.start(call), source.start(call), f"{text}{between}")


def _before(births: Births, draft: Draft, building: Building) -> _Before:
    """The layer that stands right before an activation in the source, and feeds each that was built there, and nothing else."""
    source, call = building.source, building.call
    layer = _previous(source, call, skip=_NEUTRAL)
    kind = source.module_class(layer.func)
    if kind not in WEIGHTED:
        raise Unsayable(f"line {source.line(call)} does not show which layer feeds the activation")
    fed = {path: _feeding(births, path) for path in (draft.aliases.get(p, p) for p in building.edits)}
    first = next(iter(fed.values()))
    place = births.birth(draft, first).location
    turns = births.built_by(place.file, place.line, kind) if place is not None else []
    built = next((paths for where, each, paths in turns if where is source and each is layer), [])
    if sorted(built) != sorted(fed.values()):
        raise Unsayable(f"line {source.line(layer)} builds a {kind} too that no activation follows")
    norm = modules_of(next(iter(building.edits.values())).after)[0]
    return _Before(source, call, layer, norm)


def _feeding(births: Births, path: str) -> str:
    """The path of the weighted layer that comes before another module in the same sequence."""
    parent, _, name = path.rpartition(".")
    if not name.isdigit():
        raise Unsayable(f"{path!r} is in no sequence")
    for index in reversed(range(int(name))):
        before = f"{parent}.{index}".lstrip(".")
        kind = births.by_path[before].class_name if before in births.by_path else ""
        if kind in WEIGHTED:
            return before
        if kind not in _NEUTRAL:
            break
    raise Unsayable(f"{path!r} follows no layer in its sequence")


def _previous(source: Source, call: cst.Call, *, skip: frozenset[str]) -> cst.Call:
    """The module that is written before another one: the element or argument before it, or what was appended before."""
    item = source.parent(call)
    row = source.parent(item) if item is not None else None
    items: Sequence[cst.CSTNode] = ()
    if isinstance(item, cst.Arg) and isinstance(row, cst.Call) and source.module_class(row.func) == "Sequential":
        items = [each.value for each in row.args]
    elif isinstance(item, cst.Element) and isinstance(row, cst.List | cst.Tuple):
        items = [each.value for each in row.elements]
    elif (appended := _appended(source, call)) is not None:
        items = _appended_before(source, appended)
    at = next((index for index, each in enumerate(items) if each is call), 0)
    for each in reversed(items[:at]):
        if not isinstance(each, cst.Call) or source.module_class(each.func) not in skip:
            if isinstance(each, cst.Call):
                return each
            break
    raise Unsayable(f"line {source.line(call)} does not show what comes before the activation")


def _appended(source: Source, call: cst.Call) -> cst.Call | None:
    """The call layers.append(...) that a module is appended by."""
    arg = source.parent(call)
    holder = source.parent(arg) if isinstance(arg, cst.Arg) else None
    appends = isinstance(holder, cst.Call) and isinstance(holder.func, cst.Attribute) and holder.func.attr.value == "append"
    return holder if isinstance(holder, cst.Call) and appends and isinstance(source.parent(holder), cst.Expr) else None


def _appended_before(source: Source, appended: cst.Call) -> list[cst.CSTNode]:
    """What statements of the same block append to the same list, one right after the other, up to this one."""
    expression = source.parent(appended)
    line = source.parent(expression) if expression is not None else None
    block = source.parent(line) if line is not None else None
    found: list[cst.CSTNode] = []
    for each in block.body if isinstance(block, cst.IndentedBlock | cst.Module) else ():
        inner = each.body[0] if isinstance(each, cst.SimpleStatementLine) and len(each.body) == 1 else None
        call = inner.value if isinstance(inner, cst.Expr) and isinstance(inner.value, cst.Call) else None
        if call is None or source.written(call.func) != source.written(appended.func) or len(call.args) != 1:
            found = []
            continue
        found.append(call.args[0].value)
        if call is appended:
            return found
    return []


def _require_uncounted(source: Source, call: cst.Call) -> None:
    """Raises Unsayable where the source reads the modules of a sequence by their number, which would be another one."""
    holders = _holders(source, call)
    for node in source.all_of(cst.Subscript):
        if source.written(node.value) in holders:
            raise Unsayable(f"line {source.line(node)} counts the modules of {source.written(node.value)}")
    for node in source.calls:
        counts = source.written(node.func) in ("enumerate", "len") or (
            isinstance(node.func, cst.Attribute)
            and node.func.attr.value in ("pop", "insert")
            and source.written(node.func.value) in holders
        )
        if counts and (not node.args or source.written(node.args[0].value) in holders or isinstance(node.func, cst.Attribute)):
            raise Unsayable(f"line {source.line(node)} counts the modules of the sequence")


def _holders(source: Source, call: cst.Call) -> set[str]:
    """The names under which the source knows the sequence that a module is built for."""
    appended = _appended(source, call)
    found = (
        {source.written(appended.func.value)} if appended is not None and isinstance(appended.func, cst.Attribute) else set[str]()
    )
    statement = source.statement(call)
    if isinstance(statement, cst.Assign):
        found |= {source.written(target.target) for target in statement.targets}
    elif isinstance(statement, cst.AugAssign | cst.AnnAssign):
        found.add(source.written(statement.target))
    for assign in source.all_of(cst.Assign):
        read = {source.written(arg.value) for each in source.all_of(cst.Call, assign) for arg in each.args}
        if not found.isdisjoint(read):
            found |= {source.written(target.target) for target in assign.targets}
    return found


# Around a layer


def _wrap(draft: Draft, project: Project, building: Building) -> None:
    """A layer as nn.Sequential(layer, norm), where nothing else reads what only a layer has."""
    source, call = building.source, building.call
    for each in project.known():
        for node in each.all_of(cst.Attribute):
            if node.attr.value in _READ:
                raise Unsayable(f"line {each.line(node)} of {each.path.name} reads {node.attr.value} of a layer")
    if source.module_class(call.func) not in WEIGHTED:
        raise Unsayable(f"line {source.line(call)} builds its layer from a class that is passed to it")
    norm = modules_of(next(iter(building.edits.values())).after)[1]
    arg = source.parent(call)
    holder = source.parent(arg) if isinstance(arg, cst.Arg) else None
    if isinstance(holder, cst.Call) and source.module_class(holder.func) == "Sequential" and len(holder.args) == 2:
        second = holder.args[1].value
        if isinstance(second, cst.Call) and source.module_class(second.func) == norm.kind:
            return
    width = _width(source, call, norm)
    sequential = class_like(draft, source, call.func, "Sequential")
    inner = f"{class_like(draft, source, call.func, norm.kind)}({normalisation_arguments(norm, width)})"
    draft.put(source, source.start(call), source.start(call), f"{sequential}(")
    draft.put(source, source.end(call), source.end(call), f", {inner})")


def _width(source: Source, layer: cst.Call, norm: Module) -> str:
    """How many features a layer puts out, as it is written there. Raises Unsayable where that is not plain to read again."""
    arg = argument(layer, "out_features", 1) or argument(layer, "out_channels", 1)
    if arg is None or starred(layer) or not _is_plain(arg.value):
        raise Unsayable(f"line {source.line(layer)} does not write down plainly how many features the layer puts out")
    written = number(arg.value)
    if written is not None and written != features_of(norm):
        raise Unsayable(f"line {source.line(layer)} builds a layer of another width")
    return source.written(arg.value)


def _is_plain(node: cst.CSTNode) -> bool:
    """Whether an expression can be read twice with the same result: names, numbers and sums or products of them."""
    match node:
        case cst.Name() | cst.Integer():
            return True
        case cst.Attribute():
            return _is_plain(node.value)
        case cst.BinaryOperation():
            return _is_plain(node.left) and _is_plain(node.right)
        case cst.Subscript():
            return _is_plain(node.value) and all(_is_plain_index(each.slice) for each in node.slice)
        case _:
            return False


def _is_plain_index(node: cst.BaseSlice) -> bool:
    if not isinstance(node, cst.Index):
        return False
    value = node.value
    return _is_plain(value) or number(value) is not None or isinstance(value, cst.SimpleString)
