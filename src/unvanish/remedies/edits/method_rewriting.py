"""Classes like the user's own, but for some calls in their methods. It writes no file and alters no class of the user's.

A module gets another behaviour without losing its identity, its place or its parameters by becoming an instance of a subclass
that this makes: the methods of the class are compiled again from their source with some calls exchanged, at the same lines, with
the same globals and closures. Such a module copies, pickles and compiles like any other.
"""

from __future__ import annotations

import ast
import copy
import linecache
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from types import CellType, CodeType, FunctionType
from typing import Any, TypeAlias

from torch import Tensor, nn

from unvanish.remedies.graph.call_sites import Span, method_of

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_ORIGIN = "_unvanish_origin"
_CELL = "_unvanish_call_{}"
_FUTURE_FLAGS = 0x1FF0000  # the bits of co_flags that __future__ statements set


class CannotRewrite(Exception):
    """The source of a method cannot be edited; the message says why."""


class Rewriting(ABC):
    """What is done to one call in the source of a method."""

    @property
    @abstractmethod
    def spelled(self) -> str:
        """What stands there now, as a person would read it."""

    @abstractmethod
    def rewrite(self, definition: Definition, call: ast.Call, name: str, *, receiver: bool) -> object:
        """Edits the definition around the call in place, and says what `name` means in it, which is free there."""


@dataclass(frozen=True, slots=True)
class Substitute(Rewriting):
    """A function of one tensor by its address, "torch.nn.functional:elu", and the keyword arguments that it is called with."""

    address: str
    settings: tuple[tuple[str, float | str | bool], ...] = ()

    @property
    def spelled(self) -> str:
        """The call, such as "elu(x, alpha=1.0)"; "x" where nothing is called."""
        if self == DROPPED:
            return "x"
        given = "".join(f", {name}={value!r}" for name, value in self.settings)
        return f"{self.address.partition(':')[2]}(x{given})"

    def rewrite(self, definition: Definition, call: ast.Call, name: str, *, receiver: bool) -> object:
        """Makes the call one of this function with the same tensor alone. One whose result was dropped worked in place."""
        _exchange(definition, call, name, receiver=receiver)
        module, _, function = self.address.partition(":")
        found = getattr(import_module(module), function)
        return partial(found, **dict(self.settings)) if self.settings else found


DROPPED = Substitute(f"{__name__}:same")
"""No call at all: the tensor goes on as it is."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call in a method, and what is made of it. `spans` and `receiver` as in CallSite."""

    method: str
    spans: tuple[Span, ...]
    receiver: bool
    by: Rewriting


def same(x: Tensor) -> Tensor:
    """The tensor itself: what is called where a call is to be dropped."""
    return x


def edited_class(kind: type[nn.Module], exchanges: Sequence[Exchange]) -> type[nn.Module]:
    """A subclass of `kind` whose methods make other calls; exchanges that `kind` itself came by count, unless these overrule them.

    Raises CannotRewrite where a method cannot be edited.
    """
    base, before = _origin(kind)
    merged = {(each.method, each.spans): each for each in (*before, *exchanges)}
    return _edited_class(base, tuple(merged.values()))


def _origin(kind: type[nn.Module]) -> tuple[type[nn.Module], tuple[Exchange, ...]]:
    return vars(kind).get(_ORIGIN, (kind, ()))


@cache
def _edited_class(base: type[nn.Module], exchanges: tuple[Exchange, ...]) -> type[nn.Module]:
    members: dict[str, Any] = {
        _ORIGIN: (base, exchanges),
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "__reduce_ex__": _reduced,
    }
    for name in dict.fromkeys(each.method for each in exchanges):
        method = method_of(base, name)
        if method is None:
            raise CannotRewrite(f"{base.__qualname__}.{name} is not a plain method (it is decorated)")
        members[name] = _edited(method, base, [(each.spans, each) for each in exchanges if each.method == name])
    make: Any = type(base)  # a metaclass of the user's own makes it
    return make(base.__name__, (base,), members)


def _reduced(module: nn.Module, protocol: int) -> tuple[Any, ...]:
    """How a module of an edited class is copied and pickled: by the user's own class, which a reader can import."""
    del protocol
    return _revived, _origin(type(module)), module.__getstate__()


def _revived(base: type[nn.Module], exchanges: tuple[Exchange, ...]) -> nn.Module:
    kind = _edited_class(base, exchanges)
    return kind.__new__(kind)


# One function


def _edited(function: FunctionType, kind: type[nn.Module], exchanges: Sequence[tuple[tuple[Span, ...], Exchange]]) -> FunctionType:
    """The function compiled again with some calls exchanged; a call on the way to a deeper one calls an edited function."""
    definition = copy.deepcopy(_definition(function, exchanges[0][0][0]))
    cells: dict[str, Any] = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    for number, span in enumerate(dict.fromkeys(spans[0] for spans, _ in exchanges)):
        here = [(spans[1:], each) for spans, each in exchanges if spans[0] == span]
        name = _CELL.format(number)
        call = _call_at(definition, span)
        deeper = [(rest, each) for rest, each in here if rest]
        if deeper:
            callee = _inherited(call, function, kind)
            if callee is not None:
                call.args.insert(0, ast.copy_location(ast.Name(function.__code__.co_varnames[0], ast.Load()), call))
            cells[name] = CellType(_edited(callee or _callee(call, function), kind, deeper))
            call.func = ast.copy_location(ast.Name(name, ast.Load()), call.func)
        else:
            last = here[-1][1]
            cells[name] = CellType(last.by.rewrite(definition, call, name, receiver=last.receiver))
    return _compiled(function, definition, cells)


def _exchange(definition: Definition, call: ast.Call, name: str, *, receiver: bool) -> None:
    named = next((keyword.value for keyword in call.keywords if keyword.arg in ("input", "x", "self")), None)
    if receiver and isinstance(call.func, ast.Attribute):
        tensor: ast.expr | None = call.func.value
    else:
        tensor = call.args[0] if call.args else named
    if tensor is None or isinstance(tensor, ast.Starred):
        raise CannotRewrite(f"the call in line {call.lineno} names no tensor of its own")
    statement = next((node for node in ast.walk(definition) if isinstance(node, ast.Expr) and node.value is call), None)
    call.func = ast.copy_location(ast.Name(name, ast.Load()), call.func)
    call.args, call.keywords = [tensor], []
    if statement is None:
        return
    if not isinstance(tensor, ast.Name):
        raise CannotRewrite(f"the call in line {call.lineno} works in place on something that has no name")
    _replace_statement(definition, statement, ast.copy_location(ast.Assign([ast.Name(tensor.id, ast.Store())], call), statement))


def _replace_statement(definition: Definition, old: ast.stmt, new: ast.stmt) -> None:
    for node in ast.walk(definition):
        for _, block in ast.iter_fields(node):
            if isinstance(block, list) and old in block:
                block[block.index(old)] = new


def _call_at(definition: Definition, span: Span) -> ast.Call:
    for node in ast.walk(definition):
        if isinstance(node, ast.Call) and (node.end_lineno, node.end_col_offset) == span:
            return node
    raise CannotRewrite(f"line {span[0]} has no call where one was made (was the file edited since it was imported?)")


def _callee(call: ast.Call, function: FunctionType) -> FunctionType:
    """The plain function that a call calls, found by its name among what the caller can see."""
    names = ast.unparse(call.func).split(".")
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    found: Any = cells[names[0]].cell_contents if names[0] in cells else function.__globals__.get(names[0])
    for name in names[1:]:
        found = getattr(found, name, None)
    if not isinstance(found, FunctionType):
        raise CannotRewrite(f"{ast.unparse(call.func)} in line {call.lineno} is not a plain function that can be found by its name")
    return found


def _inherited(call: ast.Call, function: FunctionType, kind: type[nn.Module]) -> FunctionType | None:
    """The plain method that super().method(...) calls for an instance of `kind`; None where the call is another."""
    if not isinstance(call.func, ast.Attribute) or ast.unparse(call.func.value) != "super()":
        return None
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    above = kind.__mro__[kind.__mro__.index(cells["__class__"].cell_contents) + 1 :]
    found = next((vars(each)[call.func.attr] for each in above if call.func.attr in vars(each)), None)
    return found if isinstance(found, FunctionType) else None


def _definition(function: FunctionType, span: Span) -> Definition:
    """Where a function is defined in its source: the definition that begins where its code does, and holds `span`."""
    code = function.__code__
    for node in ast.walk(_parsed(code.co_filename)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
        end = (node.end_lineno or 0, node.end_col_offset or 0)
        if name == code.co_name and first == code.co_firstlineno and (node.lineno, node.col_offset) <= span <= end:
            return node
    raise CannotRewrite(f"the source of {function.__qualname__} in {code.co_filename} is not what was imported")


def _parsed(file: str) -> ast.Module:
    text = "".join(linecache.getlines(file))
    if not text:
        raise CannotRewrite(f"there is no source of {file}")
    return _tree(text)


@cache
def _tree(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError as fault:
        raise CannotRewrite(f"the source does not parse ({fault})") from fault


def _compiled(function: FunctionType, definition: Definition, cells: Mapping[str, CellType]) -> FunctionType:
    """The function with the code of another definition, and its cells by name.

    It is compiled inside a class of the same name, so that private names and super() mean what they did.
    """
    old = function.__code__
    if not isinstance(definition, ast.Lambda):
        definition.decorator_list = []
    body: ast.stmt = ast.Expr(definition) if isinstance(definition, ast.Lambda) else definition
    owner = function.__qualname__.split(".")[-2:-1]
    if owner and owner[0].isidentifier():
        body = ast.ClassDef(owner[0], [], [], [body], [])
    names = [ast.arg(name) for name in dict.fromkeys((*old.co_freevars, *cells)) if name != "__class__" or not owner]
    factory = ast.FunctionDef("factory", ast.arguments([], names, None, [], [], None, []), [body], [])
    tree = ast.fix_missing_locations(ast.Module([factory], []))
    whole = compile(tree, old.co_filename, "exec", flags=old.co_flags & _FUTURE_FLAGS, dont_inherit=True)
    code = _code_named(whole, old.co_name, old.co_firstlineno, definition.lineno)
    if code is None:
        raise CannotRewrite(f"{function.__qualname__} could not be compiled again")
    code = code.replace(co_qualname=old.co_qualname)
    made = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, _closure(code, cells))
    made.__kwdefaults__, made.__doc__, made.__module__ = function.__kwdefaults__, function.__doc__, function.__module__
    made.__qualname__, made.__annotations__ = function.__qualname__, function.__annotations__
    made.__dict__.update(function.__dict__)
    return made


def _closure(code: CodeType, cells: Mapping[str, CellType]) -> tuple[CellType, ...]:
    return tuple(cells[name] for name in code.co_freevars)


def _code_named(code: CodeType, name: str, *lines: int) -> CodeType | None:
    """The outermost code of that name that begins in one of some lines; None where there is none."""
    inside = [each for each in code.co_consts if isinstance(each, CodeType)]
    for each in inside:
        if each.co_name == name and each.co_firstlineno in lines:
            return each
    for each in inside:
        if found := _code_named(each, name, *lines):
            return found
    return None
