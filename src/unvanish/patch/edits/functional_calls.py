"""Replaces functional calls: `torch.sigmoid(h)` becomes `F.relu(h)`, and `act=torch.tanh` becomes `act=torch.relu`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import libcst as cst

from unvanish.patch.constructor_calls import ModuleOrigins
from unvanish.patch.edits.name_lookups import change_key, choice_around, choice_at, normalise_name
from unvanish.patch.edits.written_definitions import name_definition
from unvanish.patch.source.arguments import replace_arguments
from unvanish.patch.source.definitions import DEFINED_FUNCTIONS
from unvanish.patch.source.parsed_file import Project, SourceFile, find_argument
from unvanish.patch.source.torch_names import name_function, rename_function
from unvanish.patch.source.value_flow import IsOrigin, Place, ValueFlow, uses_of, with_subclasses
from unvanish.patch.text_replacements import Draft, NotExpressible
from unvanish.record.network_changes import CallExchange, Edit, SourcePoint

_BOUNDED = MappingProxyType({"bounded_sigmoid": "bound_scores", "bounded_softmax": "bound_scores_below"})
"""What takes the argument of a function that is to be bounded."""

FUNCTIONS = frozenset({"relu", "leaky_relu", "elu", "gelu", "silu", "selu"})
"""The functions that remedies call in the place of another activation."""


@dataclass(slots=True)
class _ExchangedCall:
    """A call in the source that is replaced, the paths of the modules for which it is, and the calls that lead to it."""

    call: CallExchange
    paths: set[str] = field(default_factory=set[str])
    outer_calls: set[SourcePoint] = field(default_factory=set[SourcePoint])


def exchange(draft: Draft, project: Project, origins: ModuleOrigins, edits: Sequence[Edit]) -> None:
    """Replaces the calls of some edits. Raises NotExpressible where one cannot be, or modules use it which stay as they are."""
    uses = _calls_by_point(draft, edits)
    flow = ValueFlow(project, _is_function(project))
    places: list[tuple[Place, str, str]] = []
    for point, use in uses.items():
        if point != use.call.points[-1]:
            continue
        name = _new_function(use.call)
        source = project[Path(point.file)]
        call = source.call_ending_at(point.line, point.column)
        if origins.source_changed and any(_calls_function(source, each, name) for each in source.calls_at(point.line)):
            continue
        if call is None or not _matches_old_call(source, call, use.call):
            if origins.source_changed and not name:
                continue
            raise NotExpressible(f"line {point.line} has no call where one was made")
        _require_all_users(project, origins, uses, point)
        places += _exchange_call(draft, project, flow, source, call, use.call)
    if places and not flow.is_exclusive():
        raise NotExpressible("the function is read in other places too")
    for (source, node), old, new in places:
        choice = choice_at(project, source, node)
        if choice is not None:
            change_key(draft, project, source, choice, old, new)
        elif normalise_name(source.torch_function(node)) == normalise_name(old):
            rename_function(draft, source, node, new)


def _calls_by_point(draft: Draft, edits: Sequence[Edit]) -> dict[SourcePoint, _ExchangedCall]:
    calls: dict[SourcePoint, _ExchangedCall] = {}
    for edit in edits:
        for exchange in edit.calls:
            for depth, point in enumerate(exchange.points):
                call = calls.setdefault(point, _ExchangedCall(exchange))
                call.paths.add(draft.aliases.get(edit.path, edit.path))
                call.outer_calls |= set(exchange.points[:depth][-1:])
    return calls


def _new_function(call: CallExchange) -> str:
    """The function that is called instead; "" where the call is removed. Raises NotExpressible for one that is not torch's."""
    name, _, arguments = call.after.partition("(")
    if call.after == "x":
        return ""
    if name in _BOUNDED or name in DEFINED_FUNCTIONS:
        return name
    if name not in FUNCTIONS or arguments != "x)":
        raise NotExpressible(f"{name} is called with settings that belong to the network")
    return name


def _is_function(project: Project) -> IsOrigin:
    def is_function(source: SourceFile, node: cst.BaseExpression) -> bool:
        return bool(source.torch_function(node)) or choice_at(project, source, node) is not None

    return is_function


def _matches_old_call(source: SourceFile, call: cst.Call, exchanged: CallExchange) -> bool:
    """Whether a call can be the one to replace, by its name."""
    old = exchanged.before.partition("(")[0]
    name = source.torch_function(call.func)
    return normalise_name(name) == normalise_name(old) if name else True


def _calls_function(source: SourceFile, call: cst.Call, name: str) -> bool:
    """Whether a call is of a function of torch, or of a method, of that name."""
    method = call.func.attr.value if isinstance(call.func, cst.Attribute) and not source.qualified_name(call.func) else ""
    return bool(name) and normalise_name(name) in (normalise_name(source.torch_function(call.func)), normalise_name(method))


# What else uses the call


def _require_all_users(
    project: Project, origins: ModuleOrigins, uses: Mapping[SourcePoint, _ExchangedCall], point: SourcePoint
) -> None:
    """Raises NotExpressible unless all users of a call are altered: every module of its class, or every caller of its function."""
    source = project[Path(point.file)]
    call = source.call_ending_at(point.line, point.column)
    functions = [each for each in source.ancestors(call or source.module) if isinstance(each, cst.FunctionDef)]
    for function in functions:
        owner = source.parent(source.parent(function) or function)
        if isinstance(owner, cst.ClassDef):
            unaltered = set(origins.paths_of_classes(with_subclasses(project, owner.name.value))) - uses[point].paths
            if unaltered:
                raise NotExpressible(f"line {point.line} serves {min(unaltered)!r} too, which stays as it is")
            return
    if not functions:
        raise NotExpressible(f"line {point.line} is in no method of a module")
    callers = uses_of(project, source, functions[0])
    for where, node in callers:
        caller = where.parent(node)
        if not isinstance(caller, cst.Call) or caller.func is not node:
            raise NotExpressible(f"{functions[0].name.value} is not only called, but handed on")
        if not any(_is_call_at(project, each, where, caller) for each in uses[point].outer_calls):
            raise NotExpressible(f"{functions[0].name.value} is called in line {where.line(caller)} too, where it stays as it is")
    for outer_call in uses[point].outer_calls:
        _require_all_users(project, origins, uses, outer_call)


def _is_call_at(project: Project, point: SourcePoint, source: SourceFile, call: cst.Call) -> bool:
    return Path(point.file) == source.path and project[source.path].offset(point.line, point.column) == source.end(call)


# Writing


def _exchange_call(
    draft: Draft, project: Project, flow: ValueFlow, source: SourceFile, call: cst.Call, exchanged: CallExchange
) -> list[tuple[Place, str, str]]:
    """Replaces one call. Returns the places of values that are to be replaced in its stead, with the old and the new name."""
    old, new = exchanged.before.partition("(")[0], _new_function(exchanged)
    function = source.torch_function(call.func)
    choice = choice_around(source, call, old)
    if new in _BOUNDED:
        _bound_argument(draft, source, call, new)
    elif new in DEFINED_FUNCTIONS:
        _call_definition(draft, source, call, exchanged, new)
    elif choice is not None:
        change_key(draft, project, source, choice, old, new)
    elif not new:
        _remove_call(draft, source, call)
    elif function:
        _replace_function(draft, source, call, new)
    elif isinstance(call.func, cst.Attribute) and not call.args and normalise_name(call.func.attr.value) == normalise_name(old):
        _replace_method(draft, source, call, call.func, new)
    elif _tensor_argument(call) is None or len(call.args) != 1:
        raise NotExpressible(f"line {source.line(call)} calls a function that is passed to it, with arguments of its own")
    else:
        return [(place, old, new) for place in flow.origins(source, call.func)]
    return []


def _bound_argument(draft: Draft, source: SourceFile, call: cst.Call, name: str) -> None:
    """torch.sigmoid(h) to torch.sigmoid(bound_scores(h)); a softmax is bounded along its own axis."""
    tensor, dim = _tensor_argument(call), find_argument(call, "dim", 1)
    value = tensor.value if tensor is not None else None
    if not source.torch_function(call.func) and isinstance(call.func, cst.Attribute):
        value, dim = call.func.value, find_argument(call, "dim", 0)
    if value is None or (name == "bounded_softmax" and dim is None):
        raise NotExpressible(f"line {source.line(call)} does not say which tensor it takes, and along which axis")
    function = _BOUNDED[name]
    if isinstance(value, cst.Call) and source.torch_function(value.func) == function:
        return
    end = f", dim={source.code_of(dim.value)})" if dim is not None and name == "bounded_softmax" else ")"
    draft.replace(source, source.start(value), source.start(value), f"{name_definition(draft, source, function)}(")
    draft.replace(source, source.end(value), source.end(value), end)


def _call_definition(draft: Draft, source: SourceFile, call: cst.Call, exchanged: CallExchange, name: str) -> None:
    """torch.tanh(h) to tailored(h, phi="tanh", alpha=0.3), a function that the file gets."""
    is_function = bool(source.torch_function(call.func))
    method = call.func if isinstance(call.func, cst.Attribute) and not is_function and not call.args else None
    tensor = _tensor_argument(call)
    value = method.value if method is not None else tensor.value if is_function and tensor is not None else None
    if value is None or "#" in source.code_of(call) or isinstance(source.parent(call), cst.Expr):
        raise NotExpressible(f"line {source.line(call)} calls a function that is passed to it, or works in place")
    settings = exchanged.after.partition("(x")[2].removesuffix(")").replace("'", '"')
    function = name_definition(draft, source, name)
    draft.replace(source, source.start(call), source.end(call), f"{function}({source.code_of(value)}{settings})")


def _tensor_argument(call: cst.Call) -> cst.Arg | None:
    """The argument that is the input tensor."""
    return find_argument(call, "input", 0) or find_argument(call, "x", 0)


def _replace_function(draft: Draft, source: SourceFile, call: cst.Call, name: str) -> None:
    """torch.sigmoid(h) to F.relu(h). A call whose result was unused worked in place: the new result is assigned to the tensor."""
    tensor = _tensor_argument(call)
    if tensor is None or tensor.star:
        raise NotExpressible(f"line {source.line(call)} does not say which tensor it takes")
    if isinstance(source.parent(call), cst.Expr):
        if not isinstance(tensor.value, cst.Name):
            raise NotExpressible(f"line {source.line(call)} works in place on something that has no name")
        draft.replace(source, source.start(call), source.start(call), f"{tensor.value.value} = ")
    if len(call.args) > 1:
        replace_arguments(draft, source, call, source.code_of(tensor))
    rename_function(draft, source, call.func, name)


def _replace_method(draft: Draft, source: SourceFile, call: cst.Call, method: cst.Attribute, name: str) -> None:
    """h.sigmoid() to h.relu(), or to F.elu(h) where tensors have no such method."""
    receiver = source.code_of(method.value)
    if isinstance(source.parent(call), cst.Expr):
        if not isinstance(method.value, cst.Name):
            raise NotExpressible(f"line {source.line(call)} works in place on something that has no name")
        draft.replace(source, source.start(call), source.start(call), f"{receiver} = ")
    if name == "relu":
        draft.replace(source, source.start(method.attr), source.end(method.attr), name)
        return
    if "#" in source.code_of(call):
        raise NotExpressible(f"line {source.line(call)} has comments inside the call")
    draft.replace(source, source.start(call), source.end(call), f"{name_function(draft, source, call, name)}({receiver})")


def _remove_call(draft: Draft, source: SourceFile, call: cst.Call) -> None:
    """torch.sigmoid(h) to h. A statement that would become h = h is removed."""
    method = isinstance(call.func, cst.Attribute) and not call.args and not source.torch_function(call.func)
    tensor = _tensor_argument(call)
    value = call.func.value if method and isinstance(call.func, cst.Attribute) else tensor.value if tensor is not None else None
    if value is None or "#" in source.code_of(call):
        raise NotExpressible(f"line {source.line(call)} does not say which tensor it takes")
    if _remove_statement(draft, source, call, source.code_of(value)):
        return
    is_atom = isinstance(value, cst.Name | cst.Attribute | cst.Call | cst.Subscript)
    needs_no_parentheses = isinstance(source.parent(call), cst.Arg | cst.Return | cst.Assign)
    text = source.code_of(value)
    draft.replace(source, source.start(call), source.end(call), text if is_atom or needs_no_parentheses else f"({text})")


def _remove_statement(draft: Draft, source: SourceFile, call: cst.Call, tensor: str) -> bool:
    statement = source.parent(call)
    line = source.parent(statement) if statement is not None else None
    block = source.parent(line) if line is not None else None
    names = [source.code_of(each.target) for each in statement.targets] if isinstance(statement, cst.Assign) else []
    if names != [tensor] or not isinstance(line, cst.SimpleStatementLine) or not isinstance(block, cst.IndentedBlock):
        return False
    if len(line.body) != 1 or len(block.body) < 2 or source.indentation(source.start(line)) is None:
        return False
    start, end = source.line(line), source.line_at(source.end(line))
    if "#" in source.data[source.offset(start) : source.offset(end + 1)].decode():
        return False
    draft.replace(source, source.offset(start), source.offset(end + 1), "")
    return True
