"""Parses one of the user's files: its calls, the meaning of names, and the byte range of each expression.

This module imports libcst, so it is imported only when a patch is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import libcst as cst
from libcst import metadata as md

from unvanish.errors import ScriptError
from unvanish.patch.source.definitions import DEFINED_CLASSES, DEFINED_FUNCTIONS

Node = TypeVar("Node", bound=cst.CSTNode)

CACHED_FILES = 8  # parsed files that are kept

_MODULE, _OPTIM = "torch.nn.", "torch.optim."
_FUNCTIONS = ("torch.nn.functional.", "torch.")
_OPTIMIZERS = frozenset(
    {
        "ASGD",
        "Adadelta",
        "Adafactor",
        "Adagrad",
        "Adam",
        "AdamW",
        "Adamax",
        "LBFGS",
        "Muon",
        "NAdam",
        "RAdam",
        "RMSprop",
        "Rprop",
        "SGD",
    }
)
_PACKAGES = frozenset({"nn", "optim", "utils", "autograd", "cuda", "linalg", "fft", "special", "jit", "amp", "random", "backends"})
"""Packages in torch, which are no functions."""


class SourceFile:
    """A parsed file: its text, and its tree with positions (offsets in UTF-8 bytes), parents and scopes.

    Raises ScriptError where it does not parse.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text, self.data = path, text, text.encode()
        try:
            module = cst.parse_module(text)
        except Exception as fault:  # libcst's parser raises errors of several kinds
            raise ScriptError(f"{path} cannot be parsed ({str(fault).splitlines()[0]}); does it run?") from fault
        self._wrapper = md.MetadataWrapper(module, unsafe_skip_copy=True)
        self.module = self._wrapper.module
        metadata = self._wrapper.resolve_many((md.ByteSpanPositionProvider, md.ParentNodeProvider, md.ScopeProvider))
        self._spans = cast(Mapping[cst.CSTNode, Any], metadata[md.ByteSpanPositionProvider])
        self._parents = cast(Mapping[cst.CSTNode, cst.CSTNode], metadata[md.ParentNodeProvider])
        self._scopes = cast(Mapping[cst.CSTNode, md.Scope | None], metadata[md.ScopeProvider])

    # Positions

    @cached_property
    def _line_starts(self) -> list[int]:
        """The offset of each line, as Python counts lines."""
        starts, offset = [0], 0
        for line in self.data.splitlines(keepends=True):  # bytes split at \n, \r and \r\n alone
            offset += len(line)
            starts.append(offset)
        return starts

    def start(self, node: cst.CSTNode) -> int:
        """The offset at which a node begins, without parentheses around it."""
        return self._spans[node].start

    def end(self, node: cst.CSTNode) -> int:
        """The offset at which a node ends, without parentheses around it."""
        return self._spans[node].start + self._spans[node].length

    def code_of(self, node: cst.CSTNode) -> str:
        """The text of a node."""
        return self.data[self.start(node) : self.end(node)].decode()

    def line_at(self, offset: int) -> int:
        """The line, from 1, of an offset."""
        low, high = 0, len(self._line_starts) - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._line_starts[middle] <= offset else (low, middle - 1)
        return low + 1

    def line(self, node: cst.CSTNode) -> int:
        """The line on which a node begins."""
        return self.line_at(self.start(node))

    def covers(self, node: cst.CSTNode, line: int) -> bool:
        """Whether a node stands on a line, or on lines around it."""
        return self.line(node) <= line <= self.line_at(self.end(node))

    def offset(self, line: int, column: int = 0) -> int:
        """The offset of a line and a column in bytes; that of the end of the file where there is no such line."""
        return self._line_starts[line - 1] + column if 0 < line <= len(self._line_starts) else len(self.data)

    def text_of_line(self, line: int) -> str:
        """The text of a line without indentation and line ending; "" where there is no such line."""
        return self.data[self.offset(line) : self.offset(line + 1)].decode().strip()

    def indentation(self, offset: int) -> str | None:
        """The white space before an offset on its line; None where there is other text before it."""
        before = self.data[self.offset(self.line_at(offset)) : offset].decode()
        return before if not before.strip() else None

    @cached_property
    def line_ending(self) -> str:
        """The line ending of the file, by its first line."""
        first = self.data[: self._line_starts[1] if len(self._line_starts) > 1 else 0]
        return "\r\n" if first.endswith(b"\r\n") else "\r" if first.endswith(b"\r") else "\n"

    # The tree

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """The parent of a node; None for the module."""
        return self._parents.get(node)

    def ancestors(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """The ancestors of a node, innermost first."""
        current = self._parents.get(node)
        while current is not None:
            yield current
            current = self._parents.get(current)

    def enclosing(self, node: cst.CSTNode, node_type: type[Node] | tuple[type[Node], ...]) -> Node | None:
        """The innermost ancestor of a type."""
        return next((ancestor for ancestor in self.ancestors(node) if isinstance(ancestor, node_type)), None)

    @cached_property
    def _nodes(self) -> list[cst.CSTNode]:
        """All nodes in the order of their start, outer ones first."""
        return sorted(self._spans, key=lambda each: (self.start(each), -self.end(each)))

    def find_all(self, node_type: type[Node], inside: cst.CSTNode | None = None) -> list[Node]:
        """All nodes of a type in the order of their start; only those within the node `inside`, where one is passed."""
        nodes = [node for node in self._nodes if isinstance(node, node_type)]
        if inside is None:
            return nodes
        start, end = self.start(inside), self.end(inside)
        return [node for node in nodes if start <= self.start(node) and self.end(node) <= end]

    @cached_property
    def calls(self) -> list[cst.Call]:
        """All calls in the order of their start."""
        return self.find_all(cst.Call)

    def calls_at(self, line: int) -> list[cst.Call]:
        """The calls whose frames have a line number: they begin in that line, or their function ends in it."""
        return [call for call in self.calls if line in (self.line(call), self.line_at(self.end(call.func)))]

    def call_ending_at(self, line: int, column: int) -> cst.Call | None:
        """The call that ends at a line and a column in bytes; None where there is none."""
        end = self.offset(line, column)
        return next((call for call in self.calls if self.end(call) == end), None)

    def statement_of(self, node: cst.CSTNode) -> cst.BaseSmallStatement | None:
        """The simple statement that contains a node; None where there is none."""
        return node if isinstance(node, cst.BaseSmallStatement) else self.enclosing(node, cst.BaseSmallStatement)

    # Names

    def scope_of(self, node: cst.CSTNode) -> md.Scope:
        """The scope in which a node is read."""
        for each in (node, *self.ancestors(node)):
            scope = self._scopes.get(each)
            if scope is not None:
                return scope
        return cast(md.Scope, self._scopes[self.module])

    def assignments(self, name: str, node: cst.CSTNode) -> Sequence[md.BaseAssignment]:
        """The assignments that a name may have at a node; builtins are left out."""
        return [assignment for assignment in self.scope_of(node)[name] if not isinstance(assignment, md.BuiltinAssignment)]

    def qualified_name(self, node: cst.CSTNode) -> str:
        """The full name of an imported name or of an attribute of one, such as "torch.nn.ReLU"; "" for anything else."""
        if not isinstance(node, cst.Name | cst.Attribute):
            return ""
        names = self.scope_of(node).get_qualified_names_for(node)
        imported = [each.name for each in names if each.source is md.QualifiedNameSource.IMPORT]
        if len(names) == len(imported) == 1:
            return imported[0]
        if isinstance(node, cst.Name) and not self.assignments(node.value, node):
            module = _torch_module(node.value)
            return f"{module}.{node.value}" if module in self._star_imports else ""
        return ""

    @cached_property
    def _star_imports(self) -> set[str]:
        """The modules of which all names are imported by a star."""
        stars = [each for each in self.find_all(cst.ImportFrom) if isinstance(each.names, cst.ImportStar)]
        return {self.code_of(each.module) for each in stars if each.module is not None}

    def module_class(self, node: cst.CSTNode) -> str:
        """The class of torch.nn that an expression names, such as "Sigmoid", or one that patches define; "" for anything else."""
        name = self.qualified_name(node)
        if isinstance(node, cst.Name) and node.value in DEFINED_CLASSES and self.assignments(node.value, node):
            return node.value
        last = name.rpartition(".")[2]
        inner = name.startswith((f"{_MODULE}functional.", f"{_MODULE}init.", f"{_MODULE}utils."))
        return last if name.startswith(_MODULE) and not inner and last[:1].isupper() else ""

    def optimizer_class(self, node: cst.CSTNode) -> str:
        """The class of torch.optim that an expression names; "" for anything else."""
        name = self.qualified_name(node)
        last = name.rpartition(".")[2]
        return last if name.startswith(_OPTIM) and ".lr_scheduler." not in name and last[:1].isupper() else ""

    def torch_function(self, node: cst.CSTNode) -> str:
        """The function of torch or torch.nn.functional that an expression names, such as "tanh", or one that patches define."""
        name = self.qualified_name(node)
        if isinstance(node, cst.Name) and node.value in DEFINED_FUNCTIONS and self.assignments(node.value, node):
            return node.value
        for module in _FUNCTIONS:
            if name.startswith(module):
                rest = name.removeprefix(module)
                return rest if rest and "." not in rest and not rest[0].isupper() and rest not in _PACKAGES else ""
        return ""


def _torch_module(name: str) -> str:
    """The module of torch that a name would come from in a star import."""
    if name in _OPTIMIZERS:
        return "torch.optim"
    return "torch.nn" if name[:1].isupper() else "torch"


def find_argument(call: cst.Call, name: str, position: int | None = None) -> cst.Arg | None:
    """The argument of a call by name, or else by position, unless a star stands before it; None where there is none."""
    for arg in call.args:
        if arg.keyword is not None and arg.keyword.value == name and not arg.star:
            return arg
    if position is None or any(arg.star or arg.keyword is not None for arg in call.args[: position + 1]):
        return None
    return call.args[position] if position < len(call.args) else None


def has_star_arguments(call: cst.Call) -> bool:
    """Whether a call unpacks arguments by * or **."""
    return any(arg.star for arg in call.args)


def literal_number(node: cst.BaseExpression | None) -> float | None:
    """The value of a number literal, which may have a minus sign; None for any other expression."""
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Minus):
        positive = literal_number(node.expression)
        return None if positive is None else -positive
    if isinstance(node, cst.Integer | cst.Float):
        return float(node.evaluated_value)
    return None


def literal_string(node: cst.BaseExpression | None) -> str | None:
    """The value of a plain string literal; None for any other expression."""
    if isinstance(node, cst.SimpleString) and isinstance(node.evaluated_value, str):
        return node.evaluated_value
    return None


@lru_cache(maxsize=CACHED_FILES)
def _parse_file(path: Path, text: str) -> SourceFile:
    """A parsed file, kept since several plans for one program read the same files."""
    return SourceFile(path, text)


ReadSource = Callable[[Path], str]


class Project:
    """The user's files that a patch may edit, each parsed once; `read` gives the text of one."""

    def __init__(self, read: ReadSource) -> None:
        self._read, self._opened = read, dict[Path, SourceFile]()

    def __getitem__(self, path: Path) -> SourceFile:
        """The parsed file at a path. Raises ScriptError where it cannot be read or parsed."""
        if path not in self._opened:
            self._opened[path] = _parse_file(path, self._read(path))
        return self._opened[path]

    def opened_files(self) -> list[SourceFile]:
        """The files that were parsed so far."""
        return list(self._opened.values())
