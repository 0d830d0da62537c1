"""Writes names of torch as a file does, `nn.ReLU`, `F.relu` or a bare name, and adds the imports that they need."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst
from libcst import metadata as md

from unvanish.patch.apply_call_line import import_row
from unvanish.patch.source.parsed_file import Project, SourceFile
from unvanish.patch.source.statements import parse_source
from unvanish.patch.text_replacements import Draft, ImportRequest, NotExpressible

FUNCTIONAL = "torch.nn.functional"
_IN_TORCH = frozenset({"celu", "relu", "selu", "sigmoid", "tanh"})
"""The activations that are functions of torch itself, besides torch.nn.functional."""


def rename_class(draft: Draft, source: SourceFile, node: cst.CSTNode, name: str) -> None:
    """Changes an expression that names a class of torch.nn or torch.optim to name another class of the same module."""
    if isinstance(node, cst.Attribute):
        draft.replace(source, source.start(node.attr), source.end(node.attr), name)
    elif isinstance(node, cst.Name):
        draft.replace(source, source.start(node), source.end(node), _name_from_same_import(draft, source, node, name))
    else:
        raise NotExpressible(f"line {source.line(node)} names its class in an unusual way")


def name_class_like(draft: Draft, source: SourceFile, node: cst.CSTNode, name: str) -> str:
    """A class of torch.nn as it is written at an expression that names another one, or a value that holds one."""
    if source.module_class(node) and isinstance(node, cst.Attribute):
        return f"{source.code_of(node.value)}.{name}"
    if source.module_class(node) and isinstance(node, cst.Name):
        return _name_from_same_import(draft, source, node, name, replaces=False)
    module = name_module(source, node, "torch.nn")
    if module is None:
        raise NotExpressible(
            f"line {source.line(node)} cannot name nn.{name}: torch.nn is not imported under a name that is seen there"
        )
    return f"{module}.{name}"


def rename_function(draft: Draft, source: SourceFile, node: cst.CSTNode, name: str) -> None:
    """Changes an expression that names a function of torch or torch.nn.functional to name another function."""
    start, end = source.start(node), source.end(node)
    module = source.qualified_name(node).rpartition(".")[0]
    is_in_module = module == FUNCTIONAL or name in _IN_TORCH
    if isinstance(node, cst.Attribute):
        short = _imported_name(source, node, FUNCTIONAL)
        if module == FUNCTIONAL or (name in _IN_TORCH and short is None):
            draft.replace(source, source.start(node.attr), source.end(node.attr), name)
        else:
            draft.replace(source, start, end, name_function(draft, source, node, name))
    elif isinstance(node, cst.Name) and is_in_module:
        draft.replace(source, start, end, _name_from_same_import(draft, source, node, name))
    else:
        draft.replace(source, start, end, name_function(draft, source, node, name))


def name_function(draft: Draft, source: SourceFile, node: cst.CSTNode, name: str) -> str:
    """A function of torch.nn.functional as it is written at a node; the file gets an import where it has none."""
    short = _imported_name(source, node, FUNCTIONAL)
    if short is None and name in _IN_TORCH and (torch := _imported_name(source, node, "torch")) is not None:
        return f"{torch}.{name}"
    functional = name_module(source, node, FUNCTIONAL)
    if functional is not None:
        return f"{functional}.{name}"
    if any(source.assignments("F", node)):
        raise NotExpressible(f"line {source.line(node)} cannot call {name}: the file uses the name F otherwise")
    draft.request_import(source.path, ImportRequest(f"import {FUNCTIONAL} as F"))
    return f"F.{name}"


def name_module(source: SourceFile, node: cst.CSTNode, module: str) -> str | None:
    """The shortest expression for a module of torch at a node; None where it is not imported."""
    rest = ""
    while module:
        bound = _imported_name(source, node, module)
        if bound is not None:
            return f"{bound}{rest}"
        module, _, last = module.rpartition(".")
        rest = f".{last}{rest}"
    return None


def name_or_import(draft: Draft, source: SourceFile, node: cst.CSTNode, full: str) -> str:
    """The shortest expression for a module or class of torch at a node; the file gets an import where it has none.

    Raises NotExpressible where the file uses the name otherwise.
    """
    present = name_module(source, node, full)
    if present is not None:
        return present
    module, _, name = full.rpartition(".")
    if any(source.assignments(name, node)):
        raise NotExpressible(f"line {source.line(node)} cannot name {full}: the file uses the name {name} otherwise")
    statements = [each for each in source.find_all(cst.ImportFrom) if each.module and source.code_of(each.module) == module]
    aliases = [a for each in statements if not isinstance(each.names, cst.ImportStar) for a in each.names if _references(source, a)]
    line = f"from {module} import {name}" if module else f"import {name}"
    draft.request_import(source.path, ImportRequest(name, aliases[-1]) if aliases else ImportRequest(line))
    return name


def _imported_name(source: SourceFile, node: cst.CSTNode, module: str) -> str | None:
    """The name under which a module is imported and visible at a node."""
    return next((name for name, full in _imports(source) if full == module and _refers_to(source, node, name, module)), None)


def _refers_to(source: SourceFile, node: cst.CSTNode, name: str, full: str) -> bool:
    assignments = source.assignments(name, node)
    is_imported = bool(assignments) and all(isinstance(each, md.ImportAssignment) for each in assignments)
    return is_imported and full in _qualified_names(source, node, name)


def _qualified_names(source: SourceFile, node: cst.CSTNode, name: str) -> set[str]:
    return {each.name for each in source.scope_of(node).get_qualified_names_for(name)}


def _imports(source: SourceFile) -> Iterator[tuple[str, str]]:
    """The names that imports bind, with the full names of their modules or members."""
    for node in source.find_all(cst.BaseSmallStatement):
        if isinstance(node, cst.Import):
            for alias in node.names:
                full = source.code_of(alias.name)
                yield (bound_name(source, alias), full) if alias.asname else (full.partition(".")[0], full.partition(".")[0])
        elif isinstance(node, cst.ImportFrom) and node.module is not None and not isinstance(node.names, cst.ImportStar):
            for alias in node.names:
                yield bound_name(source, alias), f"{source.code_of(node.module)}.{source.code_of(alias.name)}"


def bound_name(source: SourceFile, alias: cst.ImportAlias) -> str:
    """The name that one item of an import binds."""
    return source.code_of(alias.asname.name if alias.asname is not None else alias.name)


# Names that are imported one by one


def _name_from_same_import(draft: Draft, source: SourceFile, node: cst.Name, name: str, *, replaces: bool = True) -> str:
    """A name from the module from which another was imported, added to that import; `replaces` says that it takes the other's
    place."""
    replaced_use = node if replaces else None
    assignments = source.assignments(node.value, node)
    if not assignments:  # from torch.nn import *
        return name
    (assignment,) = assignments if len(assignments) == 1 else (None,)
    statement = assignment.node if isinstance(assignment, md.ImportAssignment) else None
    if not isinstance(statement, cst.ImportFrom) or isinstance(statement.names, cst.ImportStar):
        raise NotExpressible(f"line {source.line(node)} takes {node.value} from several places")
    alias = next(each for each in statement.names if bound_name(source, each) == node.value)
    module = source.qualified_name(node).rpartition(".")[0]
    if any(source.assignments(name, node)):
        bound = next((bound for bound, full in _imports(source) if full == f"{module}.{name}"), None)
        if bound is None or not _refers_to(source, node, bound, f"{module}.{name}"):
            raise NotExpressible(f"line {source.line(node)} cannot name {module}.{name}: the file uses the name {name} otherwise")
        draft.request_import(source.path, ImportRequest("", alias, replaced_use))
        return bound
    draft.request_import(source.path, ImportRequest(name, alias, replaced_use))
    return name


def release_import(draft: Draft, source: SourceFile, node: cst.Name) -> None:
    """Notes that the draft replaces a use of an imported name, so that its import goes where that was the last one."""
    assignments = source.assignments(node.value, node)
    statement = getattr(assignments[0], "node", None) if len(assignments) == 1 else None
    if isinstance(statement, cst.ImportFrom) and not isinstance(statement.names, cst.ImportStar):
        alias = next(each for each in statement.names if bound_name(source, each) == node.value)
        draft.request_import(source.path, ImportRequest("", alias, node))


def add_imports(draft: Draft, project: Project) -> None:
    """Adds to the draft the imports that its new names need. A name without uses is removed from its import."""
    for path, requests in draft.imports.items():
        source = project[path]
        lines = dict.fromkeys(request.name for request in requests if request.alias is None)
        if lines:
            _add_import_lines(draft, source, list(lines))
        _add_to_imports(draft, source, [request for request in requests if request.alias is not None])


def _add_import_lines(draft: Draft, source: SourceFile, lines: list[str]) -> None:
    """Adds imports on lines of their own behind the last one of torch, so that torch is imported no earlier than before."""
    body = [each for each in source.module.body if isinstance(each, cst.SimpleStatementLine)]
    imports = [statement for each in body for statement in each.body if isinstance(statement, cst.Import | cst.ImportFrom)]
    last_import = next((each for each in reversed(imports) if "torch" in source.code_of(each)), None)
    if last_import is None:
        line = import_row(parse_source(source.text, f"{source.path} does not parse"))
    else:
        row, end = source.parent(last_import), source.end(last_import)
        if isinstance(row, cst.SimpleStatementLine) and not all(isinstance(each, cst.Import | cst.ImportFrom) for each in row.body):
            draft.replace(source, end, end, "".join(f"; {line}" for line in lines))
            return
        line = source.line_at(end) + 1
    offset = source.offset(line)
    ending_before = "" if not offset or source.data[:offset].endswith((b"\n", b"\r")) else source.line_ending
    draft.replace(source, offset, offset, ending_before + "".join(f"{each}{source.line_ending}" for each in lines))


def _add_to_imports(draft: Draft, source: SourceFile, requests: list[ImportRequest]) -> None:
    """Adds names to present imports, and removes those that are used no more."""
    by_alias = {each.alias: [r for r in requests if r.alias is each.alias] for each in requests if each.alias is not None}
    added: set[str] = set()
    for alias, uses in by_alias.items():
        names = [name for name in dict.fromkeys(use.name for use in uses if use.name) if name not in added]
        added.update(names)
        replaced_uses = {id(use.replaced_use) for use in uses}
        if any(id(node) not in replaced_uses for node in _references(source, alias)):
            end = source.end(alias)
            if names:
                draft.replace(source, end, end, "".join(f", {name}" for name in names))
        elif names:
            draft.replace(source, source.start(alias), source.end(alias), ", ".join(names))
        else:
            _remove_from_import(draft, source, alias)


def _references(source: SourceFile, alias: cst.ImportAlias) -> list[cst.CSTNode]:
    assignments = source.assignments(bound_name(source, alias), alias)
    return [access.node for assignment in assignments for access in assignment.references]


def _remove_from_import(draft: Draft, source: SourceFile, alias: cst.ImportAlias) -> None:
    statement = source.parent(alias)
    names = (
        list(statement.names) if isinstance(statement, cst.ImportFrom) and not isinstance(statement.names, cst.ImportStar) else []
    )
    position = names.index(alias) if alias in names else -1
    if position > 0:
        draft.replace(source, source.end(names[position - 1]), source.end(alias), "")
    elif position == 0 and len(names) > 1:
        draft.replace(source, source.start(alias), source.start(names[1]), "")
