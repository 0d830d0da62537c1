"""Finds where the user's source builds the whole network: statements about it can stand there.

First choice is the end of the constructor of the network's class, so that whoever builds the network gets what they do; then behind
the statement that builds it; at last before the statement that builds its optimizer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import libcst as cst

from unvanish.errors import TrialError
from unvanish.patch.constructor_calls import ModuleOrigins
from unvanish.patch.later_initialisation import SourceLine, later_drawing_lines
from unvanish.patch.source.parsed_file import Project, SourceFile
from unvanish.patch.source.statements import first_line, indented_by, is_compound, parse_source, statement_at
from unvanish.patch.source.value_flow import with_subclasses
from unvanish.patch.text_replacements import Draft, NotExpressible
from unvanish.record.network_changes import ModuleOrigin
from unvanish.record.structure import Entry

_SAME_NETWORK = frozenset(
    {"to", "cuda", "cpu", "float", "double", "half", "bfloat16", "type", "train", "eval", "requires_grad_", "share_memory"}
)
"""Methods that return the network on which they are called."""

_RETURNED_NAMES = ("network", "net", "model")
"""Names for a network that was returned without one."""

_LOADS_WEIGHTS = re.compile(
    r"from_pretrained|load_state_dict|torch\.load\(|hub\.load|load_from_checkpoint|pretrained\s*=\s*True|\bweights\s*=\s*(?!None\b)\S"
)


@dataclass(frozen=True, slots=True)
class NetworkPlace:
    """Where statements about a network can stand.

    Arguments:
        source: the file.
        scope: a node by which names are looked up there.
        expression: how the network is named there, such as "self" or "net".
        offset: where lines are inserted: the beginning of a line.
        indent: the indentation of the lines.
        block: the code around, in which the lines may stand already.
        returned: the statement that returns the network and gives it no name yet; None for any other place.
    """

    source: SourceFile
    scope: cst.CSTNode
    expression: str
    offset: int
    indent: str
    block: cst.CSTNode
    returned: cst.Return | None = None

    @property
    def ends_function(self) -> bool:
        """Whether the lines become the last of a function, so that nothing reads the names that they assign."""
        return isinstance(self.block, cst.FunctionDef)

    def has(self, lines: Sequence[str]) -> bool:
        """Whether the lines stand there already, one after the other."""
        source, block = self.source, self.block
        end = source.offset(source.line_at(source.end(block)) + 1)
        present = [line.strip() for line in source.data[source.start(block) : end].decode().splitlines()]
        wanted = [line.strip() for line in lines]
        return any(present[start : start + len(wanted)] == wanted for start in range(len(present) - len(wanted) + 1))

    def insert(self, draft: Draft, lines: Sequence[str]) -> None:
        """Inserts lines, behind those that were inserted there before."""
        source, ending = self.source, self.source.line_ending
        text = "".join(f"{self.indent}{indented_by(line, source.module.default_indent)}{ending}" for line in lines)
        if self.returned is not None:
            value = self.returned.value
            if value is None:
                raise NotExpressible(f"line {source.line(self.returned)} returns nothing")
            draft.replace(source, source.start(self.returned), source.start(value), f"{self.expression} = ")
            text += f"{self.indent}return {self.expression}{ending}"
        before = "" if not self.offset or source.data[: self.offset].endswith((b"\n", b"\r")) else ending
        draft.insert(source, self.offset, before + text)


def network_places(project: Project, origins: ModuleOrigins, entry: Entry | None, paths: Sequence[str]) -> Iterator[NetworkPlace]:
    """The places where the whole network is there, best first; `paths` are the modules that must exist there.

    Raises TrialError where the weights of these modules are loaded as the network is built: what they have learned would be lost.
    """
    root = origins.root
    if root is not None:
        drawing = later_drawing_lines(project, root)
        definition = _class_definition(project, root) if not drawing else None
        if definition is not None and (place := _constructor_place(project, origins, *definition, paths)) is not None:
            yield place
        if (place := _building_place(project, origins, root, entry, paths, drawing)) is not None:
            yield place
    if entry is not None and (place := _entry_place(project, entry)) is not None:
        yield place


# The constructor of its class


def _class_definition(project: Project, root: ModuleOrigin) -> tuple[SourceFile, cst.ClassDef] | None:
    """The class of the user's of which the network is an instance."""
    if root.class_name == root.torch_class:
        return None
    definitions = [(s, c) for s in project.opened_files() for c in s.find_all(cst.ClassDef) if c.name.value == root.class_name]
    return definitions[0] if len(definitions) == 1 else None


def _constructor_place(
    project: Project, origins: ModuleOrigins, source: SourceFile, definition: cst.ClassDef, paths: Sequence[str]
) -> NetworkPlace | None:
    """The end of a class's own constructor, where the program builds one network of it, whole."""
    constructor = _method(definition, "__init__")
    if constructor is None or not isinstance(constructor.body, cst.IndentedBlock) or not constructor.params.params:
        return None
    if any(source.enclosing(each, cst.FunctionDef) is constructor for each in source.find_all(cst.Return, constructor)):
        return None
    if not origins.outside_classes.isdisjoint(with_subclasses(project, definition.name.value)):
        return None
    if not all(_is_built_within(project, source, definition, constructor, origins, path) for path in paths):
        return None
    _require_untrained(source, constructor, paths)
    body = constructor.body.body
    indent = source.indentation(source.start(body[0]))
    if indent is None:
        return None
    offset = source.offset(source.line_at(source.end(_last_statement(body[-1]))) + 1)
    return NetworkPlace(source, body[-1], constructor.params.params[0].name.value, offset, indent, constructor)


def _method(definition: cst.ClassDef, name: str) -> cst.FunctionDef | None:
    methods = [each for each in definition.body.body if isinstance(each, cst.FunctionDef) and each.name.value == name]
    return methods[0] if len(methods) == 1 else None


def _is_built_within(
    project: Project,
    source: SourceFile,
    definition: cst.ClassDef,
    constructor: cst.FunctionDef,
    origins: ModuleOrigins,
    path: str,
) -> bool:
    """Whether a module exists at the end of a constructor, as far as the line that built it tells."""
    origin, root = origins.by_path.get(path), origins.root
    if origin is None or origin.location is None or root is None:
        return True
    file, line = origin.location.file, origin.location.line
    if Path(file) == source.path and source.covers(definition, line):
        method = next((each for each in definition.body.body if source.covers(each, line)), None)
        name = method.name.value if isinstance(method, cst.FunctionDef) else ""
        uses = {each.attr.value for each in source.find_all(cst.Attribute, constructor)}
        return method is constructor or name in uses
    built = root.location
    if built is None or built.file != file:
        return True
    where = project[Path(file)]
    return line <= built.line or _function_at(where, line) is not _function_at(where, built.line)


def _function_at(source: SourceFile, line: int) -> cst.CSTNode:
    """The innermost function or class around a line; the module where there is none."""
    around = [each for each in source.find_all(cst.FunctionDef) if source.covers(each, line)]
    return around[-1] if around else source.module


def _last_statement(node: cst.CSTNode) -> cst.CSTNode:
    """The last simple statement of a statement, which may have blocks."""
    for name in ("finalbody", "orelse", "body"):
        inner = getattr(node, name, None)
        if isinstance(inner, cst.Finally | cst.Else | cst.If):
            return _last_statement(inner)
        if isinstance(inner, cst.IndentedBlock):
            return _last_statement(inner.body[-1])
    return node


def _require_untrained(source: SourceFile, constructor: cst.FunctionDef, paths: Sequence[str]) -> None:
    """Raises TrialError where a statement of a constructor loads the weights of one of the modules."""
    first_names = {path.partition(".")[0] for path in paths}
    for statement in source.find_all(cst.SimpleStatementLine, constructor):
        code = source.code_of(statement)
        target = re.match(r"self\.(\w+)\b", code)
        if _LOADS_WEIGHTS.search(code) and (target is None or target[1] in first_names):
            raise _trained(source, statement)


def _trained(source: SourceFile, statement: cst.CSTNode) -> TrialError:
    return TrialError(
        f"line {source.line(statement)} of {source.path.name} loads weights that were trained; drawn anew, they would lose what "
        "they have learned"
    )


# The statement that builds it


def _building_place(
    project: Project,
    origins: ModuleOrigins,
    root: ModuleOrigin,
    entry: Entry | None,
    paths: Sequence[str],
    drawing: Sequence[SourceLine],
) -> NetworkPlace | None:
    """Behind the statement that builds the network, and those in its block that add modules to it or draw its weights."""
    if root.location is None or origins.is_built_outside(root):
        return None
    source = project[Path(root.location.file)]
    statement, expression = _statement_for(source, root, root.location.line, entry)
    row = source.parent(statement) if statement is not None else None
    block = source.parent(row) if row is not None else None
    if statement is None or not isinstance(row, cst.SimpleStatementLine) or len(row.body) != 1:
        return None
    if not isinstance(block, cst.IndentedBlock | cst.Module):
        return None
    if _LOADS_WEIGHTS.search(source.code_of(row)):
        raise _trained(source, row)
    following = block.body[list(block.body).index(row) :]
    if not all(where is source and any(source.covers(each, line) for each in following) for where, line in drawing):
        return None
    locations = [origins.by_path[path].location for path in paths if path in origins.by_path]
    lines = {each.line for each in locations if each is not None and Path(each.file) == source.path}
    last = _last_statement_at(source, following, lines | {line for _, line in drawing})
    indent = source.indentation(source.start(row))
    if indent is None or (isinstance(statement, cst.Return) and last is not row):
        return None
    offset = source.offset(source.line_at(source.end(_last_statement(last))) + 1)
    returned = statement if isinstance(statement, cst.Return) else None
    return NetworkPlace(source, row, expression, offset, indent, block, returned)


def _statement_for(
    source: SourceFile, root: ModuleOrigin, line: int, entry: Entry | None
) -> tuple[cst.BaseSmallStatement | None, str]:
    """The statement on a line that builds the network, and the network's name there; None where it does not show.

    Of a library's network, it is the statement that gives what the library returns the name which the optimizer's line uses.
    """
    named = [(_called_name(source, each), *_network_statement(source, each)) for each in source.calls_at(line)]
    if root.through_library:
        found = [each[1:] for each in named if entry is not None and each[1] is not None and each[2] == entry.expression]
        return found[0] if found else (None, "")
    found = [each[1:] for each in named if each[0] == root.class_name]
    return found[0] if len(found) == 1 else (None, "")


def _called_name(source: SourceFile, call: cst.Call) -> str:
    """The name of the class that a call builds, as it was defined."""
    full = source.qualified_name(call.func) or source.code_of(call.func)
    return full.rpartition(".")[2]


def _network_statement(source: SourceFile, call: cst.Call) -> tuple[cst.BaseSmallStatement | None, str]:
    """The statement that gives the network that a call builds a name or returns it, and that name."""
    node: cst.CSTNode = call
    while isinstance(method := source.parent(node), cst.Attribute):
        outer = source.parent(method)
        if method.attr.value not in _SAME_NETWORK or not isinstance(outer, cst.Call) or outer.func is not method:
            return None, ""
        node = outer
    statement = source.parent(node)
    if isinstance(statement, cst.Return):
        names = {each.value for each in source.find_all(cst.Name, source.enclosing(statement, cst.FunctionDef) or source.module)}
        free = [name for name in _RETURNED_NAMES if name not in names]
        return (statement, free[0]) if free else (None, "")
    if not isinstance(statement, cst.Assign | cst.AnnAssign):
        return None, ""
    targets = [each.target for each in statement.targets] if isinstance(statement, cst.Assign) else [statement.target]
    if len(targets) != 1 or not isinstance(targets[0], cst.Name | cst.Attribute):
        return None, ""
    return statement, source.code_of(targets[0])


def _last_statement_at(source: SourceFile, statements: Sequence[cst.CSTNode], lines: Collection[int]) -> cst.CSTNode:
    """The last of some statements in which one of the lines is; the first where none is. Definitions do not count."""
    around = [
        each
        for each in statements
        if not isinstance(each, cst.FunctionDef | cst.ClassDef) and any(source.covers(each, line) for line in lines)
    ]
    return around[-1] if around else statements[0]


# The statement that builds its optimizer


def _entry_place(project: Project, entry: Entry) -> NetworkPlace | None:
    """Before the statement that builds the optimizer, where that has its lines to itself."""
    source = project[Path(entry.location.file)]
    tree = parse_source(source.text, f"{source.path.name} does not parse")
    statement = statement_at(tree, entry.location.line, entry.expression).statement
    offset = source.offset(first_line(statement))
    line = source.data[offset : source.offset(first_line(statement) + 1)].decode()
    indent = line[: len(line) - len(line.lstrip(" \t\f"))]
    starts = [each for each in source.find_all(cst.BaseStatement) if source.start(each) == offset + len(indent)]
    if not starts:
        return None
    row, block = starts[0], source.parent(starts[0])
    is_own_row = isinstance(row, cst.BaseCompoundStatement) or (isinstance(row, cst.SimpleStatementLine) and len(row.body) == 1)
    if not is_own_row or is_compound(statement) is not isinstance(row, cst.BaseCompoundStatement):
        return None
    if not isinstance(block, cst.IndentedBlock | cst.Module):
        return None
    return NetworkPlace(source, row, entry.expression, offset, indent, block)
