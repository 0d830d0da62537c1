"""How a file spells the names of torch, and how it would spell another one: `nn.ReLU`, `F.relu`, or a name that its import gets."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst
from libcst import metadata as md

from unvanish.patch.apply_lines import import_row
from unvanish.patch.draft import Draft, Unsayable, Wanted
from unvanish.patch.source.parsed_file import Project, Source
from unvanish.patch.source.statements import parsed

FUNCTIONAL = "torch.nn.functional"
_IN_TORCH = frozenset({"celu", "relu", "selu", "sigmoid", "tanh"})
"""The activations that torch itself offers as functions."""


def renamed_class(draft: Draft, source: Source, node: cst.CSTNode, name: str) -> None:
    """Has an expression that names a class of torch.nn or torch.optim name another of the same home."""
    if isinstance(node, cst.Attribute):
        draft.put(source, source.start(node.attr), source.end(node.attr), name)
    elif isinstance(node, cst.Name):
        draft.put(source, source.start(node), source.end(node), _beside(draft, source, node, name))
    else:
        raise Unsayable(f"line {source.line(node)} names its class in an unusual way")


def class_like(draft: Draft, source: Source, node: cst.CSTNode, name: str) -> str:
    """Another class of torch.nn as it is written beside an expression that names one of that home, or calls what holds one."""
    if source.module_class(node) and isinstance(node, cst.Attribute):
        return f"{source.written(node.value)}.{name}"
    if source.module_class(node) and isinstance(node, cst.Name):
        return _beside(draft, source, node, name, frees=False)
    home = module_there(source, node, "torch.nn")
    if home is None:
        raise Unsayable(f"line {source.line(node)} cannot name nn.{name}: torch.nn is not imported under a name that is seen there")
    return f"{home}.{name}"


def renamed_function(draft: Draft, source: Source, node: cst.CSTNode, name: str) -> None:
    """Has an expression that names a function of torch or torch.nn.functional name another."""
    start, end = source.start(node), source.end(node)
    at_home = source.qualified(node).rpartition(".")[0] == FUNCTIONAL or name in _IN_TORCH
    if isinstance(node, cst.Attribute):
        own = source.qualified(node).rpartition(".")[0]
        short = _bound(source, node, FUNCTIONAL)
        if own == FUNCTIONAL or (name in _IN_TORCH and short is None):
            draft.put(source, source.start(node.attr), source.end(node.attr), name)
        else:
            draft.put(source, start, end, function_there(draft, source, node, name))
    elif isinstance(node, cst.Name) and at_home:
        draft.put(source, start, end, _beside(draft, source, node, name))
    else:
        draft.put(source, start, end, function_there(draft, source, node, name))


def function_there(draft: Draft, source: Source, node: cst.CSTNode, name: str) -> str:
    """A function of torch.nn.functional as it is written where a node stands; the file gets an import where it has none."""
    short = _bound(source, node, FUNCTIONAL)
    if short is None and name in _IN_TORCH and (torch := _bound(source, node, "torch")) is not None:
        return f"{torch}.{name}"
    there = module_there(source, node, FUNCTIONAL)
    if there is not None:
        return f"{there}.{name}"
    if any(source.assignments("F", node)):
        raise Unsayable(f"line {source.line(node)} cannot call {name}: the file uses the name F otherwise")
    draft.want(source.path, Wanted(f"import {FUNCTIONAL} as F"))
    return f"F.{name}"


def module_there(source: Source, node: cst.CSTNode, module: str) -> str | None:
    """How a module of torch can be named where a node stands, the shortest way; None where it cannot."""
    rest = ""
    while module:
        bound = _bound(source, node, module)
        if bound is not None:
            return f"{bound}{rest}"
        module, _, last = module.rpartition(".")
        rest = f".{last}{rest}"
    return None


def _bound(source: Source, node: cst.CSTNode, module: str) -> str | None:
    """The name under which a module is imported and seen where a node stands."""
    return next((name for name, full in _imports(source) if full == module and _means(source, node, name, module)), None)


def _means(source: Source, node: cst.CSTNode, name: str, full: str) -> bool:
    found = source.assignments(name, node)
    return bool(found) and all(isinstance(each, md.ImportAssignment) for each in found) and full in _names_of(source, node, name)


def _names_of(source: Source, node: cst.CSTNode, name: str) -> set[str]:
    return {each.name for each in source.scope(node).get_qualified_names_for(name)}


def _imports(source: Source) -> Iterator[tuple[str, str]]:
    """The names that imports bind, with the modules or members that they stand for."""
    for node in source.all_of(cst.BaseSmallStatement):
        if isinstance(node, cst.Import):
            for alias in node.names:
                whole = source.written(alias.name)
                yield (bound_by(source, alias), whole) if alias.asname else (whole.partition(".")[0], whole.partition(".")[0])
        elif isinstance(node, cst.ImportFrom) and node.module is not None and not isinstance(node.names, cst.ImportStar):
            for alias in node.names:
                yield bound_by(source, alias), f"{source.written(node.module)}.{source.written(alias.name)}"


def bound_by(source: Source, alias: cst.ImportAlias) -> str:
    """The name that one item of an import binds."""
    return source.written(alias.asname.name if alias.asname is not None else alias.name)


# Names that are imported one by one


def _beside(draft: Draft, source: Source, node: cst.Name, name: str, *, frees: bool = True) -> str:
    """A name from the module that another one was imported from, which its import gets as well; `frees` tells that it stands in the
    place of the other."""
    freed = node if frees else None
    found = source.assignments(node.value, node)
    if not found:  # from torch.nn import *
        return name
    (assignment,) = found if len(found) == 1 else (None,)
    statement = assignment.node if isinstance(assignment, md.ImportAssignment) else None
    if not isinstance(statement, cst.ImportFrom) or isinstance(statement.names, cst.ImportStar):
        raise Unsayable(f"line {source.line(node)} takes {node.value} from several places")
    alias = next(each for each in statement.names if bound_by(source, each) == node.value)
    home = source.qualified(node).rpartition(".")[0]
    if any(source.assignments(name, node)):
        known = next((bound for bound, full in _imports(source) if full == f"{home}.{name}"), None)
        if known is None or not _means(source, node, known, f"{home}.{name}"):
            raise Unsayable(f"line {source.line(node)} cannot name {home}.{name}: the file uses the name {name} otherwise")
        draft.want(source.path, Wanted("", alias, freed))
        return known
    draft.want(source.path, Wanted(name, alias, freed))
    return name


def put_imports(draft: Draft, project: Project) -> None:
    """Adds to the draft the imports that its names want. A name that is used no more leaves its import for the one that takes its
    place."""
    for path, wanted in draft.wanted.items():
        source = project[path]
        lines = dict.fromkeys(each.name for each in wanted if each.alias is None)
        if lines:
            _put_lines(draft, source, list(lines))
        _put_names(draft, source, [each for each in wanted if each.alias is not None])


def _put_lines(draft: Draft, source: Source, lines: list[str]) -> None:
    """Imports on lines of their own, behind the last one that imports torch: none earlier than the script imports it itself."""
    body = [each for each in source.module.body if isinstance(each, cst.SimpleStatementLine)]
    imports = [small for each in body for small in each.body if isinstance(small, cst.Import | cst.ImportFrom)]
    ours = [each for each in imports if "torch" in source.written(each)]
    row = source.parent(ours[-1]) if ours else None
    if isinstance(row, cst.SimpleStatementLine) and any(not isinstance(small, cst.Import | cst.ImportFrom) for small in row.body):
        draft.put(source, source.end(ours[-1]), source.end(ours[-1]), "".join(f"; {line}" for line in lines))
        return
    line = source.line_at(source.end(ours[-1])) + 1 if ours else import_row(parsed(source.text, f"{source.path} does not parse"))
    at = source.offset(line)
    before = "" if not at or source.data[:at].endswith((b"\n", b"\r")) else source.ending
    draft.put(source, at, at, before + "".join(f"{each}{source.ending}" for each in lines))


def _put_names(draft: Draft, source: Source, wanted: list[Wanted]) -> None:
    aliases = {each.alias: [w for w in wanted if w.alias is each.alias] for each in wanted if each.alias is not None}
    taken: set[str] = set()
    for alias, uses in aliases.items():
        names = [name for name in dict.fromkeys(use.name for use in uses if use.name) if name not in taken]
        taken.update(names)
        freed = {id(use.freed) for use in uses}
        left = [node for node in _uses(source, alias) if id(node) not in freed]
        if left:
            end = source.end(alias)
            if names:
                draft.put(source, end, end, "".join(f", {name}" for name in names))
        elif names:
            draft.put(source, source.start(alias), source.end(alias), ", ".join(names))
        else:
            _remove(draft, source, alias)


def _uses(source: Source, alias: cst.ImportAlias) -> list[cst.CSTNode]:
    found = source.assignments(bound_by(source, alias), alias)
    return [access.node for each in found for access in each.references]


def _remove(draft: Draft, source: Source, alias: cst.ImportAlias) -> None:
    statement = source.parent(alias)
    names = (
        list(statement.names) if isinstance(statement, cst.ImportFrom) and not isinstance(statement.names, cst.ImportStar) else []
    )
    at = names.index(alias) if alias in names else -1
    if at > 0:
        draft.put(source, source.end(names[at - 1]), source.end(alias), "")
    elif at == 0 and len(names) > 1:
        draft.put(source, source.start(alias), source.start(names[1]), "")
