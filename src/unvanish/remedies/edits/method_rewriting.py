"""Makes subclasses of the user's modules in whose methods some calls are exchanged, compiled again from the source.

A module gets another behaviour, and keeps its identity, place and parameters, by becoming an instance of such a subclass. The
methods keep lines, globals and closures; the module copies, pickles and compiles like any other. No file and no class of the
user's is altered.
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

from unvanish.remedies.graph.call_sites import CallEnd, find_method

Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_ORIGIN = "_unvanish_origin"
_CELL = "_unvanish_call_{}"
_FUTURE_FLAGS = 0x1FF0000  # the bits of co_flags that __future__ statements set


class CannotRewrite(Exception):
    """The source of a method cannot be edited; the message says why."""


class CallRewriting(ABC):
    """One way to rewrite a call in the source of a method. Hashable: equal edits of a class give the same subclass."""

    @property
    @abstractmethod
    def replacement_text(self) -> str:
        """The call as it reads after the rewriting, such as "relu(x)", for the edit."""

    @abstractmethod
    def rewrite(self, definition: Definition, call: ast.Call, name: str, *, is_method_call: bool) -> object:
        """Edits the definition in place, and returns the object to which `name` is bound in the edited function.

        Arguments:
            definition: a copy of the syntax tree of the method, or of a function that it calls.
            call: the call in it.
            name: a name that the definition does not use.
            is_method_call: whether the call is written x.relu() rather than relu(x).

        Raises:
            CannotRewrite: the call is written in a form that cannot be edited.
        """


@dataclass(frozen=True, slots=True)
class FunctionCall(CallRewriting):
    """Replaces the call by one of another function of the same tensor.

    Arguments:
        address: the function as "module:name", such as "torch.nn.functional:elu"; imported when the method is compiled.
        settings: its keyword arguments.

    Example:
        >>> FunctionCall("torch.nn.functional:elu", (("alpha", 1.0),)).replacement_text
        'elu(x, alpha=1.0)'
    """

    address: str
    settings: tuple[tuple[str, float | str | bool], ...] = ()

    @property
    def replacement_text(self) -> str:
        """The call, such as "elu(x, alpha=1.0)"; "x" where nothing is called."""
        if self == NO_CALL:
            return "x"
        keywords = "".join(f", {name}={value!r}" for name, value in self.settings)
        return f"{self.address.partition(':')[2]}(x{keywords})"

    def rewrite(self, definition: Definition, call: ast.Call, name: str, *, is_method_call: bool) -> object:
        """Makes it a call of this function with the same tensor alone; a call whose result is unused, x.relu_(), an assignment."""
        _replace_call(definition, call, name, is_method_call=is_method_call)
        module, _, function = self.address.partition(":")
        target = getattr(import_module(module), function)
        return partial(target, **dict(self.settings)) if self.settings else target


NO_CALL = FunctionCall(f"{__name__}:identity")
"""The call is dropped: its tensor goes on as it is."""


@dataclass(frozen=True, slots=True)
class CallEdit:
    """One call in a method, and how it is rewritten. `ends` and `is_method_call` as in CallSite."""

    method: str
    ends: tuple[CallEnd, ...]
    is_method_call: bool
    rewriting: CallRewriting


def identity(x: Tensor) -> Tensor:
    """The tensor itself; called in the place of a call that is dropped."""
    return x


def class_with_edits(module_class: type[nn.Module], call_edits: Sequence[CallEdit]) -> type[nn.Module]:
    """The subclass of `module_class` with these edits; the same class and edits give the same subclass.

    Where `module_class` is itself such a subclass, its edits are kept, but for calls that are edited again. Raises CannotRewrite
    where a method cannot be edited.
    """
    base, earlier = _origin(module_class)
    merged = {(edit.method, edit.ends): edit for edit in (*earlier, *call_edits)}
    return _build_class(base, tuple(merged.values()))


def _origin(module_class: type[nn.Module]) -> tuple[type[nn.Module], tuple[CallEdit, ...]]:
    return vars(module_class).get(_ORIGIN, (module_class, ()))


@cache
def _build_class(base: type[nn.Module], call_edits: tuple[CallEdit, ...]) -> type[nn.Module]:
    members: dict[str, Any] = {
        _ORIGIN: (base, call_edits),
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "__reduce_ex__": _reduce_ex,
    }
    for name in dict.fromkeys(edit.method for edit in call_edits):
        method = find_method(base, name)
        if method is None:
            raise CannotRewrite(f"{base.__qualname__}.{name} is not a plain method (it is decorated)")
        members[name] = _edit_function(method, base, [(edit.ends, edit) for edit in call_edits if edit.method == name])
    metaclass: Any = type(base)  # a metaclass of the user's own makes it
    return metaclass(base.__name__, (base,), members)


def _reduce_ex(module: nn.Module, protocol: int) -> tuple[Any, ...]:
    """Copies and pickles a module of an edited class by the user's own class, which a reader can import."""
    del protocol
    return _rebuild, _origin(type(module)), module.__getstate__()


def _rebuild(base: type[nn.Module], call_edits: tuple[CallEdit, ...]) -> nn.Module:
    module_class = _build_class(base, call_edits)
    return module_class.__new__(module_class)


def _edit_function(
    function: FunctionType, module_class: type[nn.Module], call_edits: Sequence[tuple[tuple[CallEnd, ...], CallEdit]]
) -> FunctionType:
    """The function compiled again with some calls exchanged; for a call inside a callee, an edited callee is called."""
    definition = copy.deepcopy(_find_definition(function, call_edits[0][0][0]))
    cells: dict[str, Any] = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    for number, end in enumerate(dict.fromkeys(ends[0] for ends, _ in call_edits)):
        edits_here = [(ends[1:], edit) for ends, edit in call_edits if ends[0] == end]
        name = _CELL.format(number)
        call = _find_call(definition, end)
        deeper = [(inner_ends, edit) for inner_ends, edit in edits_here if inner_ends]
        if deeper:
            callee = _find_super_method(call, function, module_class)
            if callee is not None:
                call.args.insert(0, ast.copy_location(ast.Name(function.__code__.co_varnames[0], ast.Load()), call))
            cells[name] = CellType(_edit_function(callee or _find_callee(call, function), module_class, deeper))
            call.func = ast.copy_location(ast.Name(name, ast.Load()), call.func)
        else:
            final_edit = edits_here[-1][1]
            cells[name] = CellType(final_edit.rewriting.rewrite(definition, call, name, is_method_call=final_edit.is_method_call))
    return _compile_function(function, definition, cells)


def _replace_call(definition: Definition, call: ast.Call, name: str, *, is_method_call: bool) -> None:
    keyword_tensor = next((keyword.value for keyword in call.keywords if keyword.arg in ("input", "x", "self")), None)
    if is_method_call and isinstance(call.func, ast.Attribute):
        tensor: ast.expr | None = call.func.value
    else:
        tensor = call.args[0] if call.args else keyword_tensor
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


def _find_call(definition: Definition, end: CallEnd) -> ast.Call:
    for node in ast.walk(definition):
        if isinstance(node, ast.Call) and (node.end_lineno, node.end_col_offset) == end:
            return node
    raise CannotRewrite(f"line {end[0]} has no call where one was made (was the file edited since it was imported?)")


def _find_callee(call: ast.Call, function: FunctionType) -> FunctionType:
    """The plain function that a call calls, looked up by name in the caller's closure and globals."""
    names = ast.unparse(call.func).split(".")
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    callee: Any = cells[names[0]].cell_contents if names[0] in cells else function.__globals__.get(names[0])
    for name in names[1:]:
        callee = getattr(callee, name, None)
    if not isinstance(callee, FunctionType):
        raise CannotRewrite(f"{ast.unparse(call.func)} in line {call.lineno} is not a plain function that can be found by its name")
    return callee


def _find_super_method(call: ast.Call, function: FunctionType, module_class: type[nn.Module]) -> FunctionType | None:
    """The plain method that super().method(...) calls for an instance of `module_class`; None for any other call."""
    if not isinstance(call.func, ast.Attribute) or ast.unparse(call.func.value) != "super()":
        return None
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    parents = module_class.__mro__[module_class.__mro__.index(cells["__class__"].cell_contents) + 1 :]
    method = next((vars(parent)[call.func.attr] for parent in parents if call.func.attr in vars(parent)), None)
    return method if isinstance(method, FunctionType) else None


def _find_definition(function: FunctionType, call_end: CallEnd) -> Definition:
    """The definition of a function in its source: the one that begins where its code does, and contains the call."""
    code = function.__code__
    for node in ast.walk(_parse_file(code.co_filename)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        name = "<lambda>" if isinstance(node, ast.Lambda) else node.name
        first_line = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        end = (node.end_lineno or 0, node.end_col_offset or 0)
        if name == code.co_name and first_line == code.co_firstlineno and (node.lineno, node.col_offset) <= call_end <= end:
            return node
    raise CannotRewrite(f"the source of {function.__qualname__} in {code.co_filename} is not what was imported")


def _parse_file(file: str) -> ast.Module:
    text = "".join(linecache.getlines(file))
    if not text:
        raise CannotRewrite(f"there is no source of {file}")
    return _parse_text(text)


@cache
def _parse_text(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise CannotRewrite(f"the source does not parse ({error})") from error


def _compile_function(function: FunctionType, definition: Definition, cells: Mapping[str, CellType]) -> FunctionType:
    """The function with the code of another definition, and its cells by name.

    It is compiled inside a class of the same name, so that private names and super() mean what they did.
    """
    old_code = function.__code__
    if not isinstance(definition, ast.Lambda):
        definition.decorator_list = []
    statement: ast.stmt = ast.Expr(definition) if isinstance(definition, ast.Lambda) else definition
    class_name = function.__qualname__.split(".")[-2:-1]
    if class_name and class_name[0].isidentifier():
        statement = ast.ClassDef(class_name[0], [], [], [statement], [])
    cell_names = [name for name in dict.fromkeys((*old_code.co_freevars, *cells)) if name != "__class__" or not class_name]
    cell_arguments = [ast.arg(name) for name in cell_names]
    factory = ast.FunctionDef("factory", ast.arguments([], cell_arguments, None, [], [], None, []), [statement], [])
    tree = ast.fix_missing_locations(ast.Module([factory], []))
    module_code = compile(tree, old_code.co_filename, "exec", flags=old_code.co_flags & _FUTURE_FLAGS, dont_inherit=True)
    code = _find_code(module_code, old_code.co_name, old_code.co_firstlineno, definition.lineno)
    if code is None:
        raise CannotRewrite(f"{function.__qualname__} could not be compiled again")
    code = code.replace(co_qualname=old_code.co_qualname)
    edited = FunctionType(code, function.__globals__, function.__name__, function.__defaults__, _select_cells(code, cells))
    edited.__kwdefaults__, edited.__doc__, edited.__module__ = function.__kwdefaults__, function.__doc__, function.__module__
    edited.__qualname__, edited.__annotations__ = function.__qualname__, function.__annotations__
    edited.__dict__.update(function.__dict__)
    return edited


def _select_cells(code: CodeType, cells: Mapping[str, CellType]) -> tuple[CellType, ...]:
    return tuple(cells[name] for name in code.co_freevars)


def _find_code(code: CodeType, name: str, *lines: int) -> CodeType | None:
    """The outermost code of that name that begins in one of some lines; None where there is none."""
    nested = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    for constant in nested:
        if constant.co_name == name and constant.co_firstlineno in lines:
            return constant
    for constant in nested:
        if inner := _find_code(constant, name, *lines):
            return inner
    return None
