"""Functional calls exchanged where they stand: `torch.sigmoid(h)` becomes `F.relu(h)`, and `act=torch.tanh` `act=torch.relu`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import libcst as cst

from unvanish.patch.draft import Draft, Unsayable
from unvanish.patch.edits.choices import choice_around, choice_at, choose, plain_name
from unvanish.patch.module_calls import Births
from unvanish.patch.source.arguments import exchanged
from unvanish.patch.source.parsed_file import Project, Source, argument
from unvanish.patch.source.torch_names import function_there, renamed_function
from unvanish.patch.source.value_flow import Flow, Place, Told, closure_of, uses_of
from unvanish.record.change import CallExchange, Edit, SourcePoint

FUNCTIONS = frozenset({"relu", "leaky_relu", "elu", "gelu", "silu", "selu"})
"""What remedies call in the place of another activation."""


@dataclass(slots=True)
class _Use:
    """A call in the source that is exchanged: by what, for modules at which paths, and the calls that lead to it."""

    call: CallExchange
    paths: set[str] = field(default_factory=set[str])
    leading: set[SourcePoint] = field(default_factory=set[SourcePoint])


def exchange(draft: Draft, project: Project, births: Births, edits: Sequence[Edit]) -> None:
    """Has calls in the source be what the edits say. Raises Unsayable where one cannot be, or serves modules that stay as they
    are."""
    uses: dict[SourcePoint, _Use] = {}
    for edit in edits:
        for call in edit.calls:
            for depth, point in enumerate(call.points):
                use = uses.setdefault(point, _Use(call))
                use.paths.add(draft.aliases.get(edit.path, edit.path))
                use.leading |= set(call.points[:depth][-1:])
    flow = Flow(project, _told(project))
    origins: list[tuple[Place, str, str]] = []
    for point, use in uses.items():
        if point != use.call.points[-1]:
            continue
        name = _called(use.call)
        source = project[Path(point.file)]
        call = source.call_ending(point.line, point.column)
        if births.edited and any(_calls(source, each, name) for each in source.calls_at(point.line)):
            continue
        if call is None or not _is_before(source, call, use.call):
            if births.edited and not name:
                continue
            raise Unsayable(f"line {point.line} has no call where one was made")
        _require_all(project, births, uses, point)
        origins += _write(draft, project, flow, source, call, use.call)
    if origins and not flow.closed():
        raise Unsayable("the function is read in other places too")
    for (source, node), old, new in origins:
        choice = choice_at(project, source, node)
        if choice is not None:
            choose(draft, project, source, choice, old, new)
        elif plain_name(source.torch_function(node)) == plain_name(old):
            renamed_function(draft, source, node, new)


def _called(call: CallExchange) -> str:
    """The function that is called instead; "" where the call is dropped. Raises Unsayable for one that is not torch's own."""
    name, _, arguments = call.after.partition("(")
    if call.after == "x":
        return ""
    if name not in FUNCTIONS or arguments != "x)":
        raise Unsayable(f"{name} is called with settings that belong to the network")
    return name


def _told(project: Project) -> Told:
    def told(source: Source, node: cst.BaseExpression) -> bool:
        return bool(source.torch_function(node)) or choice_at(project, source, node) is not None

    return told


def _is_before(source: Source, call: cst.Call, wanted: CallExchange) -> bool:
    """Whether a call is the one that is to be exchanged, as far as its name tells."""
    old = wanted.before.partition("(")[0]
    name = source.torch_function(call.func)
    return plain_name(name) == plain_name(old) if name else True


def _calls(source: Source, call: cst.Call, name: str) -> bool:
    """Whether a call is one of a function of torch, or of the method of that name."""
    method = call.func.attr.value if isinstance(call.func, cst.Attribute) and not source.qualified(call.func) else ""
    return bool(name) and plain_name(name) in (plain_name(source.torch_function(call.func)), plain_name(method))


# Who else makes the call


def _require_all(project: Project, births: Births, uses: Mapping[SourcePoint, _Use], point: SourcePoint) -> None:
    """Raises Unsayable unless all that makes a call is altered: every module of the class, or every caller of the function."""
    source = project[Path(point.file)]
    call = source.call_ending(point.line, point.column)
    functions = [each for each in source.above(call or source.module) if isinstance(each, cst.FunctionDef)]
    for function in functions:
        owner = source.parent(source.parent(function) or function)
        if isinstance(owner, cst.ClassDef):
            left = set(births.of_classes(closure_of(project, owner.name.value))) - uses[point].paths
            if left:
                raise Unsayable(f"line {point.line} serves {min(left)!r} too, which stays as it is")
            return
    if not functions:
        raise Unsayable(f"line {point.line} is in no method of a module")
    callers = uses_of(project, source, functions[0])
    for where, node in callers:
        caller = where.parent(node)
        if not isinstance(caller, cst.Call) or caller.func is not node:
            raise Unsayable(f"{functions[0].name.value} is not only called, but handed on")
        if not any(_ends(project, each, where, caller) for each in uses[point].leading):
            raise Unsayable(f"{functions[0].name.value} is called in line {where.line(caller)} too, where it stays as it is")
    for each in uses[point].leading:
        _require_all(project, births, uses, each)


def _ends(project: Project, point: SourcePoint, source: Source, call: cst.Call) -> bool:
    return Path(point.file) == source.path and project[source.path].offset(point.line, point.column) == source.end(call)


# Writing


def _write(
    draft: Draft, project: Project, flow: Flow, source: Source, call: cst.Call, wanted: CallExchange
) -> list[tuple[Place, str, str]]:
    """Has one call be another. What comes back are the places of values to be exchanged in its stead, with their names."""
    old, new = wanted.before.partition("(")[0], _called(wanted)
    function = source.torch_function(call.func)
    choice = choice_around(source, call, old)
    if choice is not None:
        choose(draft, project, source, choice, old, new)
    elif not new:
        _drop(draft, source, call)
    elif function:
        _call_another(draft, source, call, new)
    elif isinstance(call.func, cst.Attribute) and not call.args and plain_name(call.func.attr.value) == plain_name(old):
        _call_on(draft, source, call, call.func, new)
    elif _tensor(call) is None or len(call.args) != 1:
        raise Unsayable(f"line {source.line(call)} calls a function that is passed to it, with arguments of its own")
    else:
        return [(place, old, new) for place in flow.origins(source, call.func)]
    return []


def _tensor(call: cst.Call) -> cst.Arg | None:
    """The argument that is the tensor."""
    return argument(call, "input", 0) or argument(call, "x", 0)


def _call_another(draft: Draft, source: Source, call: cst.Call, name: str) -> None:
    """torch.sigmoid(h) as F.relu(h). A call whose result was dropped worked in place: its result gets the tensor's name."""
    tensor = _tensor(call)
    if tensor is None or tensor.star:
        raise Unsayable(f"line {source.line(call)} does not say which tensor it takes")
    if isinstance(source.parent(call), cst.Expr):
        if not isinstance(tensor.value, cst.Name):
            raise Unsayable(f"line {source.line(call)} works in place on something that has no name")
        draft.put(source, source.start(call), source.start(call), f"{tensor.value.value} = ")
    if len(call.args) > 1:
        exchanged(draft, source, call, source.written(tensor))
    renamed_function(draft, source, call.func, name)


def _call_on(draft: Draft, source: Source, call: cst.Call, method: cst.Attribute, name: str) -> None:
    """h.sigmoid() as h.relu(), or as F.elu(h) where tensors have no such method."""
    receiver = source.written(method.value)
    if isinstance(source.parent(call), cst.Expr):
        if not isinstance(method.value, cst.Name):
            raise Unsayable(f"line {source.line(call)} works in place on something that has no name")
        draft.put(source, source.start(call), source.start(call), f"{receiver} = ")
    if name == "relu":
        draft.put(source, source.start(method.attr), source.end(method.attr), name)
        return
    if "#" in source.written(call):
        raise Unsayable(f"line {source.line(call)} has comments inside the call")
    draft.put(source, source.start(call), source.end(call), f"{function_there(draft, source, call, name)}({receiver})")


def _drop(draft: Draft, source: Source, call: cst.Call) -> None:
    """torch.sigmoid(h) as h. A statement of which nothing is left, such as h = h, goes."""
    method = isinstance(call.func, cst.Attribute) and not call.args and not source.torch_function(call.func)
    tensor = _tensor(call)
    value = call.func.value if method and isinstance(call.func, cst.Attribute) else tensor.value if tensor is not None else None
    if value is None or "#" in source.written(call):
        raise Unsayable(f"line {source.line(call)} does not say which tensor it takes")
    if _drop_statement(draft, source, call, source.written(value)):
        return
    plain = isinstance(value, cst.Name | cst.Attribute | cst.Call | cst.Subscript)
    alone = isinstance(source.parent(call), cst.Arg | cst.Return | cst.Assign)
    text = source.written(value)
    draft.put(source, source.start(call), source.end(call), text if plain or alone else f"({text})")


def _drop_statement(draft: Draft, source: Source, call: cst.Call, tensor: str) -> bool:
    statement = source.parent(call)
    line = source.parent(statement) if statement is not None else None
    block = source.parent(line) if line is not None else None
    names = [source.written(each.target) for each in statement.targets] if isinstance(statement, cst.Assign) else []
    if names != [tensor] or not isinstance(line, cst.SimpleStatementLine) or not isinstance(block, cst.IndentedBlock):
        return False
    if len(line.body) != 1 or len(block.body) < 2 or source.indentation(source.start(line)) is None:
        return False
    start, end = source.line(line), source.line_at(source.end(line))
    if "#" in source.data[source.offset(start) : source.offset(end + 1)].decode():
        return False
    draft.put(source, source.offset(start), source.offset(end + 1), "")
    return True
