"""Where a value that a call uses is written down: through variables, attributes, default arguments and the calls that pass it. It
follows what is plain to a reader, and gives up on the rest.

A place that is found may be edited only where nothing else reads the names on the way to it: `Flow.closed` tells that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import libcst as cst
from libcst import metadata as md

from unvanish.patch.draft import Unsayable
from unvanish.patch.source.parsed_file import Project, Source, argument, starred, string

Place: TypeAlias = tuple[Source, cst.BaseExpression]
"""An expression and the file that it stands in."""

Told = Callable[[Source, cst.BaseExpression], bool]
"""Whether an expression writes down a value of the kind that is looked for."""

_MOST_STEPS = 60
_WORDS = frozenset({"print", "log", "info", "debug", "warning"})
"""What only tells a value to a person."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """A place that reads a name on the way of a value."""

    source: Source
    node: cst.CSTNode


class Flow:
    """The way of some values through the program, traced backwards from where they are used."""

    def __init__(self, project: Project, told: Told) -> None:
        self._project, self._told = project, told
        self._visited: set[int] = set()
        self._readings: list[_Reading] = []
        self._steps = 0

    def origins(self, source: Source, node: cst.BaseExpression) -> list[Place]:
        """Where the value of an expression is written down: one place, or several where callers differ.

        Raises Unsayable where that cannot be told.
        """
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise Unsayable(f"line {source.line(node)} gets its value in a roundabout way")
        self._visited.add(id(node))
        if self._told(source, node):
            return [(source, node)]
        match node:
            case cst.Name():
                return self._of_name(source, node)
            case cst.Attribute(value=cst.Name(value="self")):
                return self._of_attribute(source, node)
            case cst.Subscript():
                return self._of_entry(source, node)
            case _:
                raise self._lost(source, node)

    def closed(self, besides: Collection[cst.CSTNode] = ()) -> bool:
        """Whether all that reads the names on the way was traced, or is among `besides`; what only prints them does not count."""
        known = self._visited | {id(node) for node in besides}
        return all(id(each.node) in known or _only_told(each) for each in self._readings)

    def _lost(self, source: Source, node: cst.CSTNode) -> Unsayable:
        return Unsayable(f"line {source.line(node)} does not tell where {source.written(node)} comes from")

    # Names

    def _of_name(self, source: Source, node: cst.Name) -> list[Place]:
        found = source.assignments(node.value, node)
        if len(found) != 1:
            raise self._lost(source, node)
        (assignment,) = found
        if isinstance(assignment, md.ImportAssignment):
            return self._of_import(source, node, assignment)
        if not isinstance(assignment, md.Assignment):
            raise self._lost(source, node)
        if isinstance(assignment.node, cst.Param):
            self._readings += (_Reading(source, access.node) for access in assignment.references)
            return self._of_parameter(source, assignment.node)
        value = _assigned(source, assignment.node)
        if value is None:
            raise self._lost(source, node)
        self._readings += (_Reading(source, access.node) for access in assignment.references)
        return self.origins(source, value)

    def _of_import(self, source: Source, node: cst.Name, assignment: md.ImportAssignment) -> list[Place]:
        """A variable of another file of the user's that a patch knows."""
        statement = assignment.node
        names = {each.name for each in source.scope(node).get_qualified_names_for(node)}
        for other in self._project.known():
            for name in names:
                home, _, last = name.rpartition(".")
                if home.rpartition(".")[2] != other.path.stem or not isinstance(statement, cst.ImportFrom):
                    continue
                values = [_assigned(other, a.node) for a in other.assignments(last, other.module) if isinstance(a, md.Assignment)]
                if len(values) == 1 and values[0] is not None:
                    readings = [access.node for a in other.assignments(last, other.module) for access in a.references]
                    self._readings += (_Reading(other, each) for each in readings)
                    self._readings += (_Reading(source, access.node) for access in assignment.references)
                    return self.origins(other, values[0])
        raise self._lost(source, node)

    # Attributes of self

    def _of_attribute(self, source: Source, node: cst.Attribute) -> list[Place]:
        owner = source.around(node, cst.ClassDef)
        name = node.attr.value
        if owner is None:
            raise self._lost(source, node)
        uses = [each for each in source.all_of(cst.Attribute, owner) if each.attr.value == name]
        if not all(isinstance(each.value, cst.Name) and each.value.value == "self" for each in uses):
            raise self._lost(source, node)
        values = [(each, value) for each in uses if (value := _assigned(source, each)) is not None]
        if not values:
            values = [(each, value) for each in _class_names(owner, name) if (value := _assigned(source, each)) is not None]
        if len(values) != 1 or any(_is_target(source, each) for each in uses if each is not values[0][0]):
            raise self._lost(source, node)
        self._readings += (_Reading(source, each) for each in uses if each is not values[0][0])
        return self.origins(source, values[0][1])

    # Parameters

    def _of_parameter(self, source: Source, parameter: cst.Param) -> list[Place]:
        row = source.parent(parameter)
        function = source.parent(row) if row is not None else None
        if not isinstance(function, cst.FunctionDef) or parameter.star:
            raise self._lost(source, parameter)
        found: list[Place] = []
        for caller, call in self._callers(source, function):
            passed = _passed(source, function, parameter, call)
            if passed is not None:
                found += self.origins(caller, passed.value)
            elif parameter.default is not None:
                found += self.origins(source, parameter.default)
            else:
                raise self._lost(caller, call)
        return list({id(node): (where, node) for where, node in found}.values())

    def _callers(self, source: Source, function: cst.FunctionDef) -> list[tuple[Source, cst.Call]]:
        """The calls of a function, of a class by its constructor, or of a method of self. Raises Unsayable where others may be."""
        owner = source.parent(source.parent(function) or function)
        if not isinstance(owner, cst.ClassDef):
            calls = self._calls_of(source, function)
        elif function.name.value == "__init__":
            calls = self._buildings(source, owner)
        else:
            uses = [each for each in source.all_of(cst.Attribute) if each.attr.value == function.name.value]
            calls = [(source, call) for each in uses if (call := _called(source, each)) is not None]
            if len(calls) != len(uses):
                raise self._lost(source, function)
        if not calls or any(starred(call) for _, call in calls):
            raise Unsayable(f"{function.name.value} in line {source.line(function)} is not called in a plain way")
        return calls

    def _buildings(self, source: Source, owner: cst.ClassDef) -> list[tuple[Source, cst.Call]]:
        """The calls that run the constructor of a class: of the class, and of those that derive from it."""
        calls = self._calls_of(source, owner)
        for where, heir in _heirs(self._project, owner):
            own = [each for each in where.all_of(cst.FunctionDef, heir.body) if each.name.value == "__init__"]
            if len(heir.bases) != 1 or len(own) > 1:
                raise Unsayable(f"the class {heir.name.value} derives from several")
            above = (
                [call for call in where.all_of(cst.Call, own[0]) if where.written(call.func) == "super().__init__"] if own else []
            )
            calls += [(where, call) for call in above] if own else self._buildings(where, heir)
        return calls

    def _calls_of(self, source: Source, definition: cst.FunctionDef | cst.ClassDef) -> list[tuple[Source, cst.Call]]:
        uses = [(where, node) for where, node in uses_of(self._project, source, definition) if not _is_base(where, node)]
        calls = [(where, call) for where, node in uses if (call := _called(where, node)) is not None]
        if len(calls) != len(uses):
            raise Unsayable(f"{definition.name.value} is not only called, but handed on")
        return calls

    # Entries of dictionaries

    def _of_entry(self, source: Source, node: cst.Subscript) -> list[Place]:
        """What stands under a key that is written out, in a dictionary that is written out."""
        key = string(_index(node))
        if key is None:
            raise self._lost(source, node)
        holders = Flow(self._project, lambda _, each: isinstance(each, cst.Dict)).origins(source, node.value)
        (home, holder) = holders[0]
        entries = [e for e in holder.elements if isinstance(e, cst.DictElement)] if isinstance(holder, cst.Dict) else []
        values = [entry.value for entry in entries if string(entry.key) == key]
        if len(holders) != 1 or len(values) != 1 or not isinstance(node.value, cst.Name):
            raise self._lost(source, node)
        for access in (a for each in source.assignments(node.value.value, node) for a in each.references):
            use = source.parent(access.node)
            if not isinstance(use, cst.Subscript) or string(_index(use)) in (None, key):
                self._readings.append(_Reading(source, use or access.node))
        return self.origins(home, values[0])


def uses_of(project: Project, source: Source, definition: cst.FunctionDef | cst.ClassDef) -> list[tuple[Source, cst.CSTNode]]:
    """Where a function or class of the user's is read, in its own file and in those that import it."""
    name = definition.name.value
    uses: list[tuple[Source, cst.CSTNode]] = [
        (source, access.node)
        for each in source.assignments(name, definition)
        if isinstance(each, md.Assignment) and each.node is definition
        for access in each.references
    ]
    for other in project.known():
        if other is not source:
            uses += ((other, each) for each in _imported_uses(other, source.path.stem, name))
    return [(where, _whole(where, node)) for where, node in uses]


def _imported_uses(source: Source, home: str, name: str) -> list[cst.CSTNode]:
    """Where a file reads a name of another one of the user's, whatever it calls it."""
    aliases = [each for each in source.all_of(cst.ImportAlias) if source.written(each.name) == name and each.asname is not None]
    names = {name, *(source.written(each.asname.name) for each in aliases if each.asname is not None)}
    nodes = [*(each for each in source.all_of(cst.Name) if each.value in names), *source.all_of(cst.Attribute)]
    named = [each for each in nodes if isinstance(each, cst.Name) or each.attr.value == name]
    found = [each for each in named if f".{source.qualified(each)}".endswith(f".{home}.{name}")]
    return [each for each in found if source.around(each, (cst.Import, cst.ImportFrom)) is None]


def _heirs(project: Project, owner: cst.ClassDef) -> list[tuple[Source, cst.ClassDef]]:
    """The classes whose bases name a class."""
    classes = [(each, kind) for each in project.known() for kind in each.all_of(cst.ClassDef)]
    name = owner.name.value
    return [(each, kind) for each, kind in classes if any(each.written(b.value).rpartition(".")[2] == name for b in kind.bases)]


def _is_base(source: Source, node: cst.CSTNode) -> bool:
    """Whether a class is read for another one to derive from it."""
    arg = source.parent(node)
    owner = source.parent(arg) if isinstance(arg, cst.Arg) else None
    return isinstance(owner, cst.ClassDef) and arg in owner.bases


def closure_of(project: Project, name: str) -> set[str]:
    """The names of a class and of all that derive from it, as far as the files tell."""
    classes = [(each, kind) for each in project.known() for kind in each.all_of(cst.ClassDef)]
    found, grown = {name}, True
    while grown:
        heirs = {
            kind.name.value
            for each, kind in classes
            if any(each.written(base.value).rpartition(".")[2] in found for base in kind.bases)
        }
        grown = not heirs <= found
        found |= heirs
    return found


def _passed(source: Source, function: cst.FunctionDef, parameter: cst.Param, call: cst.Call) -> cst.Arg | None:
    """The argument that a call gives for a parameter; None where it leaves it out."""
    plain = list(function.params.posonly_params) + list(function.params.params)
    inside = isinstance(source.parent(source.parent(function) or function), cst.ClassDef)
    offset = 1 if inside and not any(source.written(d.decorator) == "staticmethod" for d in function.decorators) else 0
    position = plain.index(parameter) - offset if parameter in plain else None
    return argument(call, parameter.name.value, position)


def _assigned(source: Source, node: cst.CSTNode) -> cst.BaseExpression | None:
    """The value that is assigned to a name or attribute by itself; None where the node is no such target."""
    above = source.parent(node)
    if isinstance(above, cst.AnnAssign) and above.target is node:
        return above.value
    if isinstance(above, cst.AssignTarget) and isinstance(assign := source.parent(above), cst.Assign):
        return assign.value
    return _unpacked(source, node)


def _unpacked(source: Source, node: cst.CSTNode) -> cst.BaseExpression | None:
    """The value of one name among several: a, b = 1, 2."""
    element = source.parent(node)
    row = source.parent(element) if element is not None else None
    target = source.parent(row) if row is not None else None
    assign = source.parent(target) if isinstance(target, cst.AssignTarget) else None
    if not isinstance(element, cst.Element) or not isinstance(row, cst.Tuple | cst.List) or not isinstance(assign, cst.Assign):
        return None
    values: Sequence[cst.BaseElement] = assign.value.elements if isinstance(assign.value, cst.Tuple | cst.List) else ()
    if len(values) != len(row.elements) or any(isinstance(e, cst.StarredElement) for e in (*values, *row.elements)):
        return None
    return values[list(row.elements).index(element)].value


def _is_target(source: Source, node: cst.CSTNode) -> bool:
    above = source.parent(node)
    return isinstance(above, cst.AssignTarget | cst.AugAssign | cst.Del) or (
        isinstance(above, cst.AnnAssign) and above.target is node
    )


def _class_names(owner: cst.ClassDef, name: str) -> list[cst.Name]:
    """Where the body of a class assigns to a name of its own."""
    lines = [each for each in owner.body.body if isinstance(each, cst.SimpleStatementLine)]
    targets: list[cst.BaseExpression] = []
    for small in (small for line in lines for small in line.body):
        targets += [each.target for each in small.targets] if isinstance(small, cst.Assign) else []
        targets += [small.target] if isinstance(small, cst.AnnAssign) else []
    return [each for each in targets if isinstance(each, cst.Name) and each.value == name]


def _called(source: Source, node: cst.CSTNode) -> cst.Call | None:
    above = source.parent(node)
    return above if isinstance(above, cst.Call) and above.func is node else None


def _whole(source: Source, node: cst.CSTNode) -> cst.CSTNode:
    """The dotted name that a node is the end of."""
    above = source.parent(node)
    return above if isinstance(above, cst.Attribute) and above.attr is node else node


def _index(node: cst.Subscript) -> cst.BaseExpression | None:
    inner = node.slice[0].slice if len(node.slice) == 1 else None
    return inner.value if isinstance(inner, cst.Index) else None


def _only_told(reading: _Reading) -> bool:
    """Whether a reading is there for people: in a print, in the text of one, or in an error."""
    above = list(reading.source.above(reading.node))
    call = next((each for each in above if isinstance(each, cst.Call)), None)
    printed = call is not None and reading.source.written(call.func).rpartition(".")[2] in _WORDS
    return printed or any(isinstance(each, cst.FormattedStringExpression | cst.Raise) for each in above)
