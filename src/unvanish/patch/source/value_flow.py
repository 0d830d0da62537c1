"""Traces a value back to where it is written: through variables, attributes, default arguments and the calls that pass it.

Only simple assignments and calls are followed. A place may be edited only where `ValueFlow.is_exclusive` tells that nothing else
reads the traced names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import libcst as cst
from libcst import metadata as md

from unvanish.patch.source.parsed_file import Project, SourceFile, find_argument, has_star_arguments, literal_string
from unvanish.patch.text_replacements import NotExpressible

Place: TypeAlias = tuple[SourceFile, cst.BaseExpression]
"""An expression and its file."""

IsOrigin = Callable[[SourceFile, cst.BaseExpression], bool]
"""Whether an expression is a value of the sort that is traced, such as a number literal."""

_MOST_STEPS = 60
_PRINTING_FUNCTIONS = frozenset({"print", "log", "info", "debug", "warning"})
"""Functions that only show a value to a person."""


@dataclass(frozen=True, slots=True)
class _Read:
    """An expression that reads a name through which a value flows."""

    source: SourceFile
    node: cst.CSTNode


class ValueFlow:
    """The flow of values through the program, traced backwards from where they are used."""

    def __init__(self, project: Project, is_origin: IsOrigin) -> None:
        self._project, self._is_origin = project, is_origin
        self._visited: set[int] = set()
        self._reads: list[_Read] = []
        self._steps = 0

    def origins(self, source: SourceFile, node: cst.BaseExpression) -> list[Place]:
        """The places where the value of an expression is written: one, or several where callers differ.

        Raises NotExpressible where it cannot be traced.
        """
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise NotExpressible(f"line {source.line(node)} gets its value in a roundabout way")
        self._visited.add(id(node))
        if self._is_origin(source, node):
            return [(source, node)]
        match node:
            case cst.Name():
                return self._trace_name(source, node)
            case cst.Attribute(value=cst.Name(value="self")):
                return self._trace_attribute(source, node)
            case cst.Subscript():
                return self._trace_entry(source, node)
            case _:
                raise self._untraceable(source, node)

    def is_exclusive(self, besides: Collection[cst.CSTNode] = ()) -> bool:
        """Whether every expression that reads a traced name was traced itself, is among `besides`, or only prints it."""
        known = self._visited | {id(node) for node in besides}
        return all(id(read.node) in known or _is_only_printed(read) for read in self._reads)

    def _untraceable(self, source: SourceFile, node: cst.CSTNode) -> NotExpressible:
        return NotExpressible(f"line {source.line(node)} does not tell where {source.code_of(node)} comes from")

    # Names

    def _trace_name(self, source: SourceFile, node: cst.Name) -> list[Place]:
        assignments = source.assignments(node.value, node)
        if len(assignments) != 1:
            raise self._untraceable(source, node)
        (assignment,) = assignments
        if isinstance(assignment, md.ImportAssignment):
            return self._trace_import(source, node, assignment)
        if not isinstance(assignment, md.Assignment):
            raise self._untraceable(source, node)
        if isinstance(assignment.node, cst.Param):
            self._reads += (_Read(source, access.node) for access in assignment.references)
            return self._trace_parameter(source, assignment.node)
        value = _assigned_value(source, assignment.node)
        if value is None:
            raise self._untraceable(source, node)
        self._reads += (_Read(source, access.node) for access in assignment.references)
        return self.origins(source, value)

    def _trace_import(self, source: SourceFile, node: cst.Name, assignment: md.ImportAssignment) -> list[Place]:
        """A variable that is imported from another of the parsed files."""
        statement = assignment.node
        names = {each.name for each in source.scope_of(node).get_qualified_names_for(node)}
        for other in self._project.opened_files():
            for name in names:
                module, _, last = name.rpartition(".")
                if module.rpartition(".")[2] != other.path.stem or not isinstance(statement, cst.ImportFrom):
                    continue
                assignments = other.assignments(last, other.module)
                values = [_assigned_value(other, each.node) for each in assignments if isinstance(each, md.Assignment)]
                if len(values) == 1 and values[0] is not None:
                    self._reads += (_Read(other, access.node) for each in assignments for access in each.references)
                    self._reads += (_Read(source, access.node) for access in assignment.references)
                    return self.origins(other, values[0])
        raise self._untraceable(source, node)

    # Attributes of self

    def _trace_attribute(self, source: SourceFile, node: cst.Attribute) -> list[Place]:
        owner = source.enclosing(node, cst.ClassDef)
        name = node.attr.value
        if owner is None:
            raise self._untraceable(source, node)
        uses = [each for each in source.find_all(cst.Attribute, owner) if each.attr.value == name]
        if not all(isinstance(each.value, cst.Name) and each.value.value == "self" for each in uses):
            raise self._untraceable(source, node)
        values = [(each, value) for each in uses if (value := _assigned_value(source, each)) is not None]
        if not values:
            targets = _class_attributes(owner, name)
            values = [(each, value) for each in targets if (value := _assigned_value(source, each)) is not None]
        if len(values) != 1 or any(_is_target(source, each) for each in uses if each is not values[0][0]):
            raise self._untraceable(source, node)
        self._reads += (_Read(source, each) for each in uses if each is not values[0][0])
        return self.origins(source, values[0][1])

    # Parameters

    def _trace_parameter(self, source: SourceFile, parameter: cst.Param) -> list[Place]:
        parameters = source.parent(parameter)
        function = source.parent(parameters) if parameters is not None else None
        if not isinstance(function, cst.FunctionDef) or parameter.star:
            raise self._untraceable(source, parameter)
        places: list[Place] = []
        for caller, call in self._callers(source, function):
            argument = _argument_for(source, function, parameter, call)
            if argument is not None:
                places += self.origins(caller, argument.value)
            elif parameter.default is not None:
                places += self.origins(source, parameter.default)
            else:
                raise self._untraceable(caller, call)
        return list({id(node): (where, node) for where, node in places}.values())

    def _callers(self, source: SourceFile, function: cst.FunctionDef) -> list[tuple[SourceFile, cst.Call]]:
        """The calls of a function, of a constructor, or of a method. Raises NotExpressible where there may be others."""
        owner = source.parent(source.parent(function) or function)
        if not isinstance(owner, cst.ClassDef):
            calls = self._calls_of(source, function)
        elif function.name.value == "__init__":
            calls = self._constructor_calls(source, owner)
        else:
            uses = [each for each in source.find_all(cst.Attribute) if each.attr.value == function.name.value]
            calls = [(source, call) for each in uses if (call := _call_of(source, each)) is not None]
            if len(calls) != len(uses):
                raise self._untraceable(source, function)
        if not calls or any(has_star_arguments(call) for _, call in calls):
            raise NotExpressible(f"{function.name.value} in line {source.line(function)} is not called in a plain way")
        return calls

    def _constructor_calls(self, source: SourceFile, owner: cst.ClassDef) -> list[tuple[SourceFile, cst.Call]]:
        """The calls that run the constructor of a class: those of the class, and those of its subclasses."""
        calls = self._calls_of(source, owner)
        for where, subclass in _subclasses(self._project, owner):
            constructors = [each for each in where.find_all(cst.FunctionDef, subclass.body) if each.name.value == "__init__"]
            if len(subclass.bases) != 1 or len(constructors) > 1:
                raise NotExpressible(f"the class {subclass.name.value} derives from several")
            if constructors:
                inner_calls = where.find_all(cst.Call, constructors[0])
                calls += [(where, call) for call in inner_calls if where.code_of(call.func) == "super().__init__"]
            else:
                calls += self._constructor_calls(where, subclass)
        return calls

    def _calls_of(self, source: SourceFile, definition: cst.FunctionDef | cst.ClassDef) -> list[tuple[SourceFile, cst.Call]]:
        uses = [(where, node) for where, node in uses_of(self._project, source, definition) if not _is_base(where, node)]
        calls = [(where, call) for where, node in uses if (call := _call_of(where, node)) is not None]
        if len(calls) != len(uses):
            raise NotExpressible(f"{definition.name.value} is not only called, but handed on")
        return calls

    # Entries of dictionaries

    def _trace_entry(self, source: SourceFile, node: cst.Subscript) -> list[Place]:
        """The value under a literal key of a dictionary that is written out."""
        key = literal_string(_subscript_index(node))
        if key is None:
            raise self._untraceable(source, node)
        dictionaries = ValueFlow(self._project, lambda _, each: isinstance(each, cst.Dict)).origins(source, node.value)
        (where, dictionary) = dictionaries[0]
        elements = dictionary.elements if isinstance(dictionary, cst.Dict) else ()
        values = [each.value for each in elements if isinstance(each, cst.DictElement) and literal_string(each.key) == key]
        if len(dictionaries) != 1 or len(values) != 1 or not isinstance(node.value, cst.Name):
            raise self._untraceable(source, node)
        for access in (a for each in source.assignments(node.value.value, node) for a in each.references):
            use = source.parent(access.node)
            if not isinstance(use, cst.Subscript) or literal_string(_subscript_index(use)) in (None, key):
                self._reads.append(_Read(source, use or access.node))
        return self.origins(where, values[0])


def uses_of(
    project: Project, source: SourceFile, definition: cst.FunctionDef | cst.ClassDef
) -> list[tuple[SourceFile, cst.CSTNode]]:
    """The expressions that read a function or class of the user's, in its own file and in those that import it."""
    name = definition.name.value
    uses: list[tuple[SourceFile, cst.CSTNode]] = [
        (source, access.node)
        for each in source.assignments(name, definition)
        if isinstance(each, md.Assignment) and each.node is definition
        for access in each.references
    ]
    for other in project.opened_files():
        if other is not source:
            uses += ((other, each) for each in _imported_uses(other, source.path.stem, name))
    return [(where, _dotted_name(where, node)) for where, node in uses]


def _imported_uses(source: SourceFile, module: str, name: str) -> list[cst.CSTNode]:
    """The expressions that read a name of another of the user's modules, also under an alias."""
    aliases = [each for each in source.find_all(cst.ImportAlias) if source.code_of(each.name) == name and each.asname is not None]
    names = {name, *(source.code_of(each.asname.name) for each in aliases if each.asname is not None)}
    attributes = [each for each in source.find_all(cst.Attribute) if each.attr.value == name]
    candidates = [*(each for each in source.find_all(cst.Name) if each.value in names), *attributes]
    uses = [each for each in candidates if f".{source.qualified_name(each)}".endswith(f".{module}.{name}")]
    return [each for each in uses if source.enclosing(each, (cst.Import, cst.ImportFrom)) is None]


def _all_classes(project: Project) -> list[tuple[SourceFile, cst.ClassDef]]:
    return [(source, each) for source in project.opened_files() for each in source.find_all(cst.ClassDef)]


def _base_names(source: SourceFile, definition: cst.ClassDef) -> set[str]:
    """The last names of the bases of a class: "Module" for nn.Module."""
    return {source.code_of(base.value).rpartition(".")[2] for base in definition.bases}


def _subclasses(project: Project, owner: cst.ClassDef) -> list[tuple[SourceFile, cst.ClassDef]]:
    """The classes whose bases name a class."""
    return [(source, each) for source, each in _all_classes(project) if owner.name.value in _base_names(source, each)]


def _is_base(source: SourceFile, node: cst.CSTNode) -> bool:
    """Whether an expression is a base in the definition of a class."""
    arg = source.parent(node)
    owner = source.parent(arg) if isinstance(arg, cst.Arg) else None
    return isinstance(owner, cst.ClassDef) and arg in owner.bases


def with_subclasses(project: Project, name: str) -> set[str]:
    """The names of a class and of all its subclasses in the parsed files."""
    classes = _all_classes(project)
    names, has_grown = {name}, True
    while has_grown:
        subclasses = {each.name.value for source, each in classes if not names.isdisjoint(_base_names(source, each))}
        has_grown = not subclasses <= names
        names |= subclasses
    return names


def _argument_for(source: SourceFile, function: cst.FunctionDef, parameter: cst.Param, call: cst.Call) -> cst.Arg | None:
    """The argument of a call for a parameter; None where the call leaves it out."""
    positional = [*function.params.posonly_params, *function.params.params]
    is_method = isinstance(source.parent(source.parent(function) or function), cst.ClassDef)
    is_static = any(source.code_of(each.decorator) == "staticmethod" for each in function.decorators)
    skipped = 1 if is_method and not is_static else 0  # self
    position = positional.index(parameter) - skipped if parameter in positional else None
    return find_argument(call, parameter.name.value, position)


def _assigned_value(source: SourceFile, node: cst.CSTNode) -> cst.BaseExpression | None:
    """The value that is assigned to a name or attribute; None where the node is no target of an assignment."""
    parent = source.parent(node)
    if isinstance(parent, cst.AnnAssign) and parent.target is node:
        return parent.value
    if isinstance(parent, cst.AssignTarget) and isinstance(assign := source.parent(parent), cst.Assign):
        return assign.value
    return _unpacked_value(source, node)


def _unpacked_value(source: SourceFile, node: cst.CSTNode) -> cst.BaseExpression | None:
    """The value of one of several targets: a, b = 1, 2."""
    element = source.parent(node)
    targets = source.parent(element) if element is not None else None
    target = source.parent(targets) if targets is not None else None
    assign = source.parent(target) if isinstance(target, cst.AssignTarget) else None
    if not isinstance(element, cst.Element) or not isinstance(targets, cst.Tuple | cst.List) or not isinstance(assign, cst.Assign):
        return None
    values: Sequence[cst.BaseElement] = assign.value.elements if isinstance(assign.value, cst.Tuple | cst.List) else ()
    if len(values) != len(targets.elements) or any(isinstance(e, cst.StarredElement) for e in (*values, *targets.elements)):
        return None
    return values[list(targets.elements).index(element)].value


def _is_target(source: SourceFile, node: cst.CSTNode) -> bool:
    parent = source.parent(node)
    return isinstance(parent, cst.AssignTarget | cst.AugAssign | cst.Del) or (
        isinstance(parent, cst.AnnAssign) and parent.target is node
    )


def _class_attributes(owner: cst.ClassDef, name: str) -> list[cst.Name]:
    """The targets in the body of a class that have a name."""
    lines = [each for each in owner.body.body if isinstance(each, cst.SimpleStatementLine)]
    targets: list[cst.BaseExpression] = []
    for statement in (statement for line in lines for statement in line.body):
        targets += [each.target for each in statement.targets] if isinstance(statement, cst.Assign) else []
        targets += [statement.target] if isinstance(statement, cst.AnnAssign) else []
    return [each for each in targets if isinstance(each, cst.Name) and each.value == name]


def _call_of(source: SourceFile, node: cst.CSTNode) -> cst.Call | None:
    parent = source.parent(node)
    return parent if isinstance(parent, cst.Call) and parent.func is node else None


def _dotted_name(source: SourceFile, node: cst.CSTNode) -> cst.CSTNode:
    """The dotted name that ends in a node; the node itself where there is none."""
    parent = source.parent(node)
    return parent if isinstance(parent, cst.Attribute) and parent.attr is node else node


def _subscript_index(node: cst.Subscript) -> cst.BaseExpression | None:
    index = node.slice[0].slice if len(node.slice) == 1 else None
    return index.value if isinstance(index, cst.Index) else None


def _is_only_printed(read: _Read) -> bool:
    """Whether a value is read only for a person: in a call that prints or logs, in a formatted string, or in an error."""
    ancestors = list(read.source.ancestors(read.node))
    call = next((each for each in ancestors if isinstance(each, cst.Call)), None)
    is_printed = call is not None and read.source.code_of(call.func).rpartition(".")[2] in _PRINTING_FUNCTIONS
    return is_printed or any(isinstance(each, cst.FormattedStringExpression | cst.Raise) for each in ancestors)
