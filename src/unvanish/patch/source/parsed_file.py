"""One file of the user's, parsed: which calls stand where, what names mean, where an expression begins and ends. It alters nothing
and runs nothing.

This module imports libcst, so it is opened only when a patch is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import libcst as cst
from libcst import metadata as md

from unvanish.errors import ScriptError

Node = TypeVar("Node", bound=cst.CSTNode)

KEPT = 8  # files that stay parsed

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
_MODULES = frozenset({"nn", "optim", "utils", "autograd", "cuda", "linalg", "fft", "special", "jit", "amp", "random", "backends"})
"""What stands in torch beside functions."""


class Source:
    """One file: its text, and its tree with positions (offsets in UTF-8 bytes), parents and scopes. Raises ScriptError where it
    does not parse."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text, self.data = path, text, text.encode()
        try:
            module = cst.parse_module(text)
        except Exception as fault:  # libcst's parser raises errors of several kinds
            raise ScriptError(f"{path} cannot be parsed ({str(fault).splitlines()[0]}); does it run?") from fault
        self._wrapper = md.MetadataWrapper(module, unsafe_skip_copy=True)
        self.module = self._wrapper.module
        found = self._wrapper.resolve_many((md.ByteSpanPositionProvider, md.ParentNodeProvider, md.ScopeProvider))
        self._spans = cast(Mapping[cst.CSTNode, Any], found[md.ByteSpanPositionProvider])
        self._parents = cast(Mapping[cst.CSTNode, cst.CSTNode], found[md.ParentNodeProvider])
        self._scopes = cast(Mapping[cst.CSTNode, md.Scope | None], found[md.ScopeProvider])

    # Positions

    @cached_property
    def _starts(self) -> list[int]:
        """The offsets at which lines begin, as Python counts lines."""
        starts, at = [0], 0
        for line in self.data.splitlines(keepends=True):  # bytes split at \n, \r and \r\n alone
            at += len(line)
            starts.append(at)
        return starts

    def start(self, node: cst.CSTNode) -> int:
        """Where a node begins, without parentheses around it."""
        return self._spans[node].start

    def end(self, node: cst.CSTNode) -> int:
        """Where a node ends, without parentheses around it."""
        return self._spans[node].start + self._spans[node].length

    def written(self, node: cst.CSTNode) -> str:
        """A node as it stands there."""
        return self.data[self.start(node) : self.end(node)].decode()

    def line_at(self, offset: int) -> int:
        """The line (from 1) of an offset."""
        low, high = 0, len(self._starts) - 1
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._starts[middle] <= offset else (low, middle - 1)
        return low + 1

    def line(self, node: cst.CSTNode) -> int:
        """The line on which a node begins."""
        return self.line_at(self.start(node))

    def offset(self, line: int, column: int = 0) -> int:
        """The offset of a place; that of the end where there is no such line."""
        return self._starts[line - 1] + column if 0 < line <= len(self._starts) else len(self.data)

    def text_of_line(self, line: int) -> str:
        """A line without its indentation and ending; "" where there is none."""
        return self.data[self.offset(line) : self.offset(line + 1)].decode().strip()

    def indentation(self, offset: int) -> str | None:
        """What stands before an offset on its line, where that is only white space; None where there is more."""
        before = self.data[self.offset(self.line_at(offset)) : offset].decode()
        return before if not before.strip() else None

    @cached_property
    def ending(self) -> str:
        """How the lines of the file end."""
        first = self.data[: self._starts[1] if len(self._starts) > 1 else 0]
        return "\r\n" if first.endswith(b"\r\n") else "\r" if first.endswith(b"\r") else "\n"

    # The tree

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """What a node is part of."""
        return self._parents.get(node)

    def above(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """All that a node is part of, from the inside out."""
        current = self._parents.get(node)
        while current is not None:
            yield current
            current = self._parents.get(current)

    def around(self, node: cst.CSTNode, kind: type[Node] | tuple[type[Node], ...]) -> Node | None:
        """The innermost of a kind that a node is part of."""
        return next((each for each in self.above(node) if isinstance(each, kind)), None)

    @cached_property
    def _nodes(self) -> list[cst.CSTNode]:
        """All nodes in order of their beginning, outer ones first."""
        return sorted(self._spans, key=lambda each: (self.start(each), -self.end(each)))

    def all_of(self, kind: type[Node], inside: cst.CSTNode | None = None) -> list[Node]:
        """All nodes of a kind, in order of their beginning; those within a node alone, where one is given."""
        found = [each for each in self._nodes if isinstance(each, kind)]
        if inside is None:
            return found
        start, end = self.start(inside), self.end(inside)
        return [each for each in found if start <= self.start(each) and self.end(each) <= end]

    @cached_property
    def calls(self) -> list[cst.Call]:
        """All calls in order of their beginning."""
        return self.all_of(cst.Call)

    def calls_at(self, line: int) -> list[cst.Call]:
        """The calls that run under the number of a line: they begin there, or their last attribute stands there."""
        return [call for call in self.calls if line in (self.line(call), self.line_at(self.end(call.func)))]

    def call_ending(self, line: int, column: int) -> cst.Call | None:
        """The call that ends at a place."""
        wanted = self.offset(line, column)
        return next((call for call in self.calls if self.end(call) == wanted), None)

    def statement(self, node: cst.CSTNode) -> cst.BaseSmallStatement | None:
        """The simple statement that a node is part of."""
        return node if isinstance(node, cst.BaseSmallStatement) else self.around(node, cst.BaseSmallStatement)

    # Names

    def scope(self, node: cst.CSTNode) -> md.Scope:
        """The scope in which a node is read."""
        for each in (node, *self.above(node)):
            scope = self._scopes.get(each)
            if scope is not None:
                return scope
        return cast(md.Scope, self._scopes[self.module])

    def assignments(self, name: str, node: cst.CSTNode) -> Sequence[md.BaseAssignment]:
        """What a name may stand for where a node is read; builtins are left out."""
        return [each for each in self.scope(node)[name] if not isinstance(each, md.BuiltinAssignment)]

    def qualified(self, node: cst.CSTNode) -> str:
        """The full name of what an imported name, or an attribute of one, means, such as "torch.nn.ReLU"; "" for anything else."""
        if not isinstance(node, cst.Name | cst.Attribute):
            return ""
        found = self.scope(node).get_qualified_names_for(node)
        imported = [each.name for each in found if each.source is md.QualifiedNameSource.IMPORT]
        if len(found) == len(imported) == 1:
            return imported[0]
        if isinstance(node, cst.Name) and not self.assignments(node.value, node):
            home = _home_of(node.value)
            return f"{home}.{node.value}" if home in self._starred else ""
        return ""

    @cached_property
    def _starred(self) -> set[str]:
        """The modules of which all names are imported."""
        stars = [each for each in self.all_of(cst.ImportFrom) if isinstance(each.names, cst.ImportStar)]
        return {self.written(each.module) for each in stars if each.module is not None}

    def module_class(self, node: cst.CSTNode) -> str:
        """The class of torch.nn that an expression names, such as "Sigmoid"; "" for anything else."""
        name = self.qualified(node)
        last = name.rpartition(".")[2]
        inner = name.startswith((f"{_MODULE}functional.", f"{_MODULE}init.", f"{_MODULE}utils."))
        return last if name.startswith(_MODULE) and not inner and last[:1].isupper() else ""

    def optimizer_class(self, node: cst.CSTNode) -> str:
        """The class of torch.optim that an expression names; "" for anything else."""
        name = self.qualified(node)
        last = name.rpartition(".")[2]
        return last if name.startswith(_OPTIM) and ".lr_scheduler." not in name and last[:1].isupper() else ""

    def torch_function(self, node: cst.CSTNode) -> str:
        """The function of torch or torch.nn.functional that an expression names, such as "tanh"; "" for anything else."""
        name = self.qualified(node)
        for home in _FUNCTIONS:
            if name.startswith(home):
                rest = name.removeprefix(home)
                return rest if rest and "." not in rest and not rest[0].isupper() and rest not in _MODULES else ""
        return ""


def _home_of(name: str) -> str:
    """The module of torch that a name without a home comes from, if it is one of torch's."""
    if name in _OPTIMIZERS:
        return "torch.optim"
    return "torch.nn" if name[:1].isupper() else "torch"


def argument(call: cst.Call, name: str, position: int | None = None) -> cst.Arg | None:
    """The argument of a call that is given by name, or at a position if no star is before it."""
    for arg in call.args:
        if arg.keyword is not None and arg.keyword.value == name and not arg.star:
            return arg
    if position is None or any(arg.star or arg.keyword is not None for arg in call.args[: position + 1]):
        return None
    return call.args[position] if position < len(call.args) else None


def starred(call: cst.Call) -> bool:
    """Whether a call passes arguments that are not written out."""
    return any(arg.star for arg in call.args)


def number(node: cst.BaseExpression | None) -> float | None:
    """The number that an expression writes down; None for anything else."""
    if isinstance(node, cst.UnaryOperation) and isinstance(node.operator, cst.Minus):
        inner = number(node.expression)
        return None if inner is None else -inner
    if isinstance(node, cst.Integer | cst.Float):
        return float(node.evaluated_value)
    return None


def string(node: cst.BaseExpression | None) -> str | None:
    """The text that a plain string writes down; None for anything else."""
    if isinstance(node, cst.SimpleString) and isinstance(node.evaluated_value, str):
        return node.evaluated_value
    return None


@lru_cache(maxsize=KEPT)
def _opened(path: Path, text: str) -> Source:
    """A file; several plans for one program read the same."""
    return Source(path, text)


Reads = Callable[[Path], str]


class Project:
    """The user's files that a patch may touch, each parsed once. `read` gives the text of one."""

    def __init__(self, read: Reads) -> None:
        self._read, self._known = read, dict[Path, Source]()

    def __getitem__(self, path: Path) -> Source:
        """A file. Raises ScriptError where it cannot be read or parsed."""
        if path not in self._known:
            self._known[path] = _opened(path, self._read(path))
        return self._known[path]

    def known(self) -> list[Source]:
        """The files that were asked for so far."""
        return list(self._known.values())
