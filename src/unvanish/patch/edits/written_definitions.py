"""Writes the small classes and functions that a patch uses into the user's file, once, before their first use."""

from __future__ import annotations

import libcst as cst
from libcst import metadata as md

from unvanish.patch.apply_call_line import import_row
from unvanish.patch.source.definitions import (
    DEFINED_CLASSES,
    DEFINITIONS,
    TORCH_MODULES,
    Definition,
    join_parts,
    load_definition,
    rename_modules,
)
from unvanish.patch.source.parsed_file import Project, SourceFile
from unvanish.patch.source.statements import indented_by, parse_source
from unvanish.patch.source.torch_names import name_class_like, name_module, release_import, rename_class
from unvanish.patch.text_replacements import Draft, ImportRequest, NotExpressible

_IMPORTS = {"math": "import math", "torch": "import torch", "nn": "from torch import nn", "F": "import torch.nn.functional as F"}
_BLANK_LINES = 2


def name_definition(draft: Draft, source: SourceFile, name: str) -> str:
    """The name of a class or function that the file is to define; it does already, or the draft notes it.

    Raises NotExpressible where the file uses one of its names otherwise.
    """
    definition = load_definition(name)
    if _is_defined(source, definition):
        return name
    for each in definition.parts:
        if source.assignments(each, source.module):
            raise NotExpressible(f"{source.path.name} uses the name {each} otherwise")
    for module in definition.modules:
        if name_module(source, source.module, TORCH_MODULES[module]) is None and source.assignments(module, source.module):
            raise NotExpressible(f"{source.path.name} uses the name {module} otherwise")
    present = draft.definitions.get(source.path, ())
    if name not in present:
        draft.definitions[source.path] = (*present, name)
    return name


def name_class(draft: Draft, source: SourceFile, node: cst.CSTNode, name: str) -> str:
    """A class as it is written at an expression that names a class of torch.nn: that of a patch by its bare name."""
    return name_definition(draft, source, name) if name in DEFINED_CLASSES else name_class_like(draft, source, node, name)


def replace_class(draft: Draft, source: SourceFile, node: cst.CSTNode, name: str) -> None:
    """Changes an expression that names a class of torch.nn to name another class, of torch.nn or of a patch."""
    if name not in DEFINED_CLASSES:
        rename_class(draft, source, node, name)
        return
    draft.replace(source, source.start(node), source.end(node), name_definition(draft, source, name))
    if isinstance(node, cst.Name):
        release_import(draft, source, node)


def request_imports(draft: Draft, project: Project) -> None:
    """Notes the imports that the draft's definitions need."""
    for path, names in draft.definitions.items():
        source = project[path]
        modules = {module for name in names for module in load_definition(name).modules}
        for module in (module for module in TORCH_MODULES if module in modules):
            if name_module(source, source.module, TORCH_MODULES[module]) is None:
                draft.request_import(path, ImportRequest(_IMPORTS[module]))


def add_definitions(draft: Draft, project: Project) -> None:
    """Adds the draft's definitions behind the imports of their files."""
    for path, names in draft.definitions.items():
        source = project[path]
        modules = {short: name_module(source, source.module, full) or short for short, full in TORCH_MODULES.items()}
        parts = {each: text for name in names for each, text in load_definition(name).parts.items()}
        _insert(draft, source, rename_modules(join_parts(list(parts.values())), modules))


def is_in_definition(source: SourceFile, node: cst.CSTNode) -> bool:
    """Whether a node is inside of a class or function that a patch has written."""
    names = {_name_of(each) for each in source.ancestors(node)} - {""}
    defined = {
        part for each in source.module.body if (name := _name_of(each)) in DEFINITIONS for part in load_definition(name).parts
    }
    return not names.isdisjoint(defined)


def _is_defined(source: SourceFile, definition: Definition) -> bool:
    """Whether a file defines a class or function as a patch would, or imports it from another file of the user's."""
    assignments = source.assignments(definition.name, source.module)
    if len(assignments) != 1:
        return False
    (assignment,) = assignments
    if isinstance(assignment, md.ImportAssignment):
        return not source.qualified_name(cst.Name(definition.name)).startswith("torch.")
    node = getattr(assignment, "node", None)
    methods = [each.name.value for each in source.find_all(cst.FunctionDef, node)] if isinstance(node, cst.ClassDef) else []
    written = cst.parse_module(definition.text)
    own = next(each for each in written.body if _name_of(each) == definition.name)
    if isinstance(own, cst.ClassDef) and isinstance(node, cst.ClassDef):
        return methods == [each.name.value for each in own.body.body if isinstance(each, cst.FunctionDef)]
    return isinstance(own, cst.FunctionDef) and isinstance(node, cst.FunctionDef)


def _name_of(statement: cst.CSTNode) -> str:
    return statement.name.value if isinstance(statement, cst.ClassDef | cst.FunctionDef) else ""


def _insert(draft: Draft, source: SourceFile, text: str) -> None:
    """Inserts definitions behind the imports, with two blank lines around them, indented as the file is."""
    text = "\n".join(indented_by(line, source.module.default_indent) for line in text.split("\n"))
    offset = source.offset(_row_behind_imports(source))
    before, after = source.data[:offset], source.data[offset:]
    blank_after = 0
    for line in after.splitlines():
        if line.strip():
            break
        blank_after += 1
    ending_before = "" if not before or before.endswith((b"\n", b"\r")) else "\n"
    lines_before = "\n" * _BLANK_LINES if before.strip() or draft.imports.get(source.path) else ""
    lines_after = "\n" * max(0, _BLANK_LINES - blank_after) if after.strip() else ""
    draft.insert(source, offset, f"{ending_before}{lines_before}{text}\n{lines_after}".replace("\n", source.line_ending))


def _row_behind_imports(source: SourceFile) -> int:
    """The line behind the leading imports, and behind every import of torch at the top level that comes later."""
    row = import_row(parse_source(source.text, f"{source.path} does not parse"))
    for statement in source.module.body:
        if isinstance(statement, cst.FunctionDef | cst.ClassDef):
            continue
        inner = source.find_all(cst.BaseSmallStatement, statement)
        if any(isinstance(each, cst.Import | cst.ImportFrom) and "torch" in source.code_of(each) for each in inner):
            row = max(row, source.line_at(source.end(statement)) + 1)
    return row
