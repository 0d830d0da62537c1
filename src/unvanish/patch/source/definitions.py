"""The text of small classes and functions that PyTorch lacks, as a patch writes them into the user's source.

It is the text of the layers that `unvanish.apply` puts in, without what a reader of a training script does not need: annotations,
examples and the docstrings of methods. So a patch computes what its remedy does, to the last bit, and depends on PyTorch alone.
"""

# ruff: noqa: ARG002 - libcst hands the node as it was and as it is to every method

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TypeVar

import libcst as cst

_LAYERS, _HOOKS = "remedies/layers", "remedies/hooks"
_FILES: Mapping[str, str] = MappingProxyType(
    {
        "BoundScores": f"{_LAYERS}/bounded_scores.py",
        "ChannelRMSNorm": f"{_LAYERS}/channel_norm.py",
        "DynamicTanh": f"{_LAYERS}/dynamic_tanh.py",
        "Gate": f"{_LAYERS}/learned_gate.py",
        "OnlineNorm": f"{_LAYERS}/online_norm.py",
        "Residual": f"{_LAYERS}/learned_gate.py",
        "Standardise": f"{_LAYERS}/standardise.py",
        "TailoredActivation": f"{_LAYERS}/tailored.py",
        "bound_scores": f"{_LAYERS}/bounded_scores.py",
        "bound_scores_below": f"{_LAYERS}/bounded_scores.py",
        "clip_adaptively_": f"{_HOOKS}/clip_adaptive.py",
        "tailored": f"{_LAYERS}/tailored.py",
    }
)
"""The file of each definition, below the package."""

DEFINITIONS = frozenset(_FILES)
"""The names of all definitions."""

DEFINED_CLASSES = frozenset(name for name in _FILES if name[0].isupper())
"""The classes that a patch may write."""

DEFINED_FUNCTIONS = DEFINITIONS - DEFINED_CLASSES
"""The functions that a patch may write."""

TORCH_MODULES: Mapping[str, str] = MappingProxyType(
    {"math": "math", "torch": "torch", "nn": "torch.nn", "F": "torch.nn.functional"}
)
"""The modules that a definition reads, by the names that it has for them."""

Block = TypeVar("Block", cst.FunctionDef, cst.ClassDef)

_DEFINED_NAME = re.compile(r"(?:class |def )?([A-Za-z_]\w*)(?:\(| = )")
_SIGNATURE, _SIGNATURE_WIDTH = re.compile(r"( *def \w+\()\n\s+([^()]*?),?\n\s*\):"), 120
_COMMENT_WIDTH, _INDENT, _SOURCE = 100, "    ", "arXiv"
_DISPATCH = "has_torch_function_unary"
_DROPPED_METHODS = frozenset({"extra_repr"})


@dataclass(frozen=True, slots=True)
class Definition:
    """A class or function, and what it needs of its file: texts by name. `modules` are the names of TORCH_MODULES that it reads."""

    name: str
    parts: Mapping[str, str]
    modules: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it, with the blank lines that PEP 8 asks for."""
        return join_parts(list(self.parts.values()))


@cache
def load_definition(name: str) -> Definition:
    """A definition by its name, one of DEFINED_CLASSES and DEFINED_FUNCTIONS.

    Example:
        >>> print(load_definition("Gate").text)
        class Gate(nn.Module):
            \"\"\"Its input times one learned number `scale` that starts at zero, for the end of a residual branch.
        <BLANKLINE>
            SkipInit (De and Smith 2020, arXiv 2002.10444). Shapes: any, to the same shape.
            \"\"\"
        <BLANKLINE>
            def __init__(self):
                super().__init__()
                self.scale = nn.Parameter(torch.zeros(()))
        <BLANKLINE>
            def forward(self, x):
                return self.scale * x
    """
    module = cst.parse_module(files("unvanish").joinpath(_FILES[name]).read_text(encoding="utf-8"))
    parts = _top_level_parts(module)
    names = _needed_names(name, parts)
    texts = {each: _plain_text(parts[each]) for each in names}
    read = _names_read(cst.parse_module(join_parts(list(texts.values()))))
    return Definition(name, MappingProxyType(texts), tuple(module for module in TORCH_MODULES if module in read))


def rename_modules(text: str, names: Mapping[str, str]) -> str:
    """A text in which the modules of torch are called as the user's file calls them, such as {"nn": "torch.nn"}."""
    renamed = {name: cst.parse_expression(text) for name, text in names.items() if name != text}
    return cst.parse_module(text).visit(_Renaming(renamed)).code if renamed else text


def defined_rows(lines: Sequence[str]) -> set[int]:
    """The rows, from 1, of a source that its own definitions take, with the blank lines around them.

    Example:
        >>> lines = load_definition("Gate").text.splitlines()
        >>> defined_rows(["import torch", "", *lines, "", "net = Gate()"]) == set(range(2, len(lines) + 4))
        True
    """
    starts = [_DEFINED_NAME.match(line) for line in lines]
    texts = {line.strip() for line in lines}
    present = {match.group(1) for match in starts if match} & _FILES.keys()
    present = {name for name in present if load_definition(name).parts[name].splitlines()[1].strip() in texts}  # its docstring
    names = {part for name in present for part in load_definition(name).parts}
    rows: set[int] = set()
    pending: list[int] = []
    is_inside = False
    for row, (line, match) in enumerate(zip(lines, starts, strict=True), start=1):
        if not line.strip() or line.startswith("#"):
            pending.append(row)
            continue
        is_inside = match.group(1) in names if match else is_inside and (line[0].isspace() or line[0] in ")]}")
        was_inside = bool(rows) and max(rows) == row - 1 - len(pending)
        if is_inside or was_inside:
            rows.update(pending)
        if is_inside:
            rows.add(row)
        pending = []
    return rows


@dataclass(frozen=True, slots=True)
class _Part:
    """A top-level statement of a layer's file, and the string literal behind it, which says what it is."""

    statement: cst.SimpleStatementLine | cst.BaseCompoundStatement
    comment: str = ""


def _top_level_parts(module: cst.Module) -> dict[str, _Part]:
    """The classes, functions and constants of a module by name, in its order."""
    parts: dict[str, _Part] = {}
    for statement, following in zip(module.body, [*module.body[1:], None], strict=True):
        if isinstance(statement, cst.ClassDef | cst.FunctionDef):
            parts[statement.name.value] = _Part(statement)
        elif isinstance(statement, cst.SimpleStatementLine) and isinstance(assign := statement.body[0], cst.Assign):
            target = assign.targets[0].target
            if isinstance(target, cst.Name):
                parts[target.value] = _Part(statement, _docstring(following))
    return parts


def _docstring(statement: cst.BaseStatement | None) -> str:
    """The text of a statement that is nothing but a string; "" for any other."""
    inner = statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None
    if isinstance(inner, cst.Expr) and isinstance(inner.value, cst.SimpleString):
        return " ".join(str(inner.value.evaluated_value).split())
    return ""


def _needed_names(name: str, parts: Mapping[str, _Part]) -> list[str]:
    """A name and all names of its file that it reads, directly or through others, in the order of the file."""
    needed, found = [name], {name}
    for each in needed:
        read = _names_read(cst.Module([_simplify(parts[each])]))
        needed += [other for other in parts if other in read and other not in found]
        found.update(needed)
    return [each for each in parts if each in found]


def _names_read(module: cst.Module) -> set[str]:
    collector = _NameCollector()
    module.visit(collector)
    return collector.names


class _NameCollector(cst.CSTVisitor):
    """Collects the names that are read; attributes behind a point and keywords of calls are not."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def visit_Name(self, node: cst.Name) -> None:
        self.names.add(node.value)

    def visit_Attribute(self, node: cst.Attribute) -> bool:
        node.value.visit(self)
        return False


# Plain text


def _plain_text(part: _Part) -> str:
    statement = _simplify(part)
    text = _SIGNATURE.sub(_on_one_line, cst.Module([statement]).code.strip("\n"))
    comment = textwrap.fill(part.comment, _COMMENT_WIDTH, initial_indent="# ", subsequent_indent="# ")
    return f"{comment}\n{text}" if comment else text


def _on_one_line(signature: re.Match[str]) -> str:
    """A signature that annotations made long, on one line where it is short enough without them."""
    joined = f"{signature.group(1)}{' '.join(signature.group(2).split())}):"
    return joined if len(joined) <= _SIGNATURE_WIDTH else signature.group(0)


def _simplify(part: _Part) -> cst.SimpleStatementLine | cst.BaseCompoundStatement:
    simplified = part.statement.with_changes(leading_lines=()).visit(_Simplifier())
    assert isinstance(simplified, cst.SimpleStatementLine | cst.BaseCompoundStatement)
    return simplified


def join_parts(texts: Sequence[str]) -> str:
    """Statements with the blank lines between them that PEP 8 asks for."""
    joined = texts[0]
    for before, text in itertools.pairwise(texts):
        is_block = before.rpartition("\n")[2][:1].isspace() or text.lstrip("#").startswith(("class", "def", "@"))
        joined += ("\n\n\n" if is_block else "\n") + text
    return joined


class _Simplifier(cst.CSTTransformer):
    """Drops annotations, docstrings of methods, the dispatch of torch's function modes, and what checkers alone need."""

    def leave_Param(self, original_node: cst.Param, updated_node: cst.Param) -> cst.Param:
        default = updated_node.default
        if default is None:
            return updated_node.with_changes(annotation=None)
        return updated_node.with_changes(annotation=None, equal=cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace("")))

    def leave_AnnAssign(
        self, original_node: cst.AnnAssign, updated_node: cst.AnnAssign
    ) -> cst.BaseSmallStatement | cst.RemovalSentinel:
        if updated_node.value is None:
            return cst.RemoveFromParent()
        return cst.Assign([cst.AssignTarget(updated_node.target)], updated_node.value)

    def leave_Decorator(self, original_node: cst.Decorator, updated_node: cst.Decorator) -> cst.Decorator | cst.RemovalSentinel:
        is_final = isinstance(updated_node.decorator, cst.Name) and updated_node.decorator.value == "final"
        return cst.RemoveFromParent() if is_final else updated_node

    def leave_If(self, original_node: cst.If, updated_node: cst.If) -> cst.If | cst.RemovalSentinel:
        test = updated_node.test
        is_dispatch = isinstance(test, cst.Call) and isinstance(test.func, cst.Name) and test.func.value == _DISPATCH
        return cst.RemoveFromParent() if is_dispatch else updated_node

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.BaseExpression:
        if isinstance(updated_node.func, cst.Name) and updated_node.func.value == "cast":
            return updated_node.args[1].value
        return updated_node

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
        return updated_node.with_changes(value="ValueError") if updated_node.value == "UsageError" else updated_node

    def leave_TrailingWhitespace(
        self, original_node: cst.TrailingWhitespace, updated_node: cst.TrailingWhitespace
    ) -> cst.TrailingWhitespace:
        comment = updated_node.comment
        is_for_checkers = comment is not None and "pyright:" in comment.value
        return cst.TrailingWhitespace() if is_for_checkers else updated_node

    def leave_FunctionDef(
        self, original_node: cst.FunctionDef, updated_node: cst.FunctionDef
    ) -> cst.FunctionDef | cst.RemovalSentinel:
        if updated_node.name.value in _DROPPED_METHODS:
            return cst.RemoveFromParent()
        is_method = any(param.name.value in ("self", "ctx") for param in updated_node.params.params)
        return _with_short_docstring(updated_node.with_changes(returns=None), keeps=not is_method)

    def leave_ClassDef(self, original_node: cst.ClassDef, updated_node: cst.ClassDef) -> cst.ClassDef:
        return _with_short_docstring(updated_node, keeps=True)


def _with_short_docstring(node: Block, *, keeps: bool) -> Block:
    """A class or function with the docstring's first paragraph, and those that name a source; without any where it `keeps` none."""
    body = node.body
    first = body.body[0] if isinstance(body, cst.IndentedBlock) else None
    if first is None or not isinstance(first, cst.SimpleStatementLine) or not _docstring(first):
        return node
    text = cst.Module([first]).code.strip().strip('"')
    first_paragraph, *others = text.split("\n\n")
    paragraphs = [first_paragraph, *(each for each in others if _SOURCE in each)]
    joined = "\n\n".join(each.rstrip() for each in paragraphs)
    ending = f"\n{_INDENT}" if len(paragraphs) > 1 or "\n" in joined else ""
    kept = [cst.parse_statement(f'"""{joined}{ending}"""')] if keeps else []
    return node.with_changes(body=body.with_changes(body=[*kept, *body.body[1:]]))


class _Renaming(cst.CSTTransformer):
    """Exchanges names for other expressions; attributes behind a point and keywords of calls stay."""

    def __init__(self, expressions: Mapping[str, cst.BaseExpression]) -> None:
        super().__init__()
        self._expressions = expressions

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        return self._expressions.get(updated_node.value, updated_node)

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.Attribute:
        return updated_node.with_changes(attr=original_node.attr)

    def leave_Arg(self, original_node: cst.Arg, updated_node: cst.Arg) -> cst.Arg:
        return updated_node.with_changes(keyword=original_node.keyword)
