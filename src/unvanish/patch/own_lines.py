"""Puts `unvanish.apply(...)` on a line of its own, as a person would write it: the import with the other imports, the call where
the optimizer is built. It edits nothing else."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence

from unvanish.errors import TrialError
from unvanish.patch.apply_line import Target, lines_of, parsed, target_at, with_apply

IMPORT = "import unvanish"
RETURNED = "optimizer"  # what an optimizer is called that was returned without a name
OURS = 2  # statements that may be put behind an optimizer: a call, and a change of its rates


def before_optimizer(source: str, line: int, expression: str, remedies: Sequence[str]) -> str:
    """The source with the remedies applied to `expression` before the statement that covers `line`, which builds the optimizer.

    Where that statement shares its line with others, the call goes onto the same line. Twice is the same as once. Raises
    TrialError where the source does not parse or has no statement there.
    """
    tree = parsed(source, "the script does not parse")
    target = target_at(tree, line, expression)
    call = f"unvanish.apply({', '.join([expression, *map(json.dumps, remedies)])})"
    if any(_same(statement, call) for statement in target.before[-1:]):
        return source
    if not _alone(source, target):
        return with_apply(source, line, expression, remedies)
    return _written(source, tree, _first(target.statement), call)


def behind_optimizer(source: str, line: int, expression: str, remedies: Sequence[str]) -> str:
    """The source with the remedies applied behind the statement that covers `line`, and the optimizer that it builds given to them.

    Raises TrialError, besides, where that statement gives the optimizer no name.
    """
    tree = parsed(source, "the script does not parse")
    target = target_at(tree, line, expression)
    name = _named(target.statement)
    if name is None or not _alone(source, target):
        raise TrialError(f"line {line} gives the optimizer no name of its own, so a remedy that alters it cannot be put there")
    call = f"unvanish.apply({', '.join([expression, *map(json.dumps, remedies)])}, optimizer={name})"
    if any(_same(each, call) for each in _following(tree, target.statement)):
        return source
    return _written(source, tree, (target.statement.end_lineno or 0) + 1, call, like=target.statement.lineno)


def with_rate_scaled(source: str, line: int, expression: str, factor: float) -> str:
    """The source with the learning rate of the optimizer that line `line` builds multiplied by `factor`.

    A number that stands there as lr=... is rewritten; otherwise a line behind the statement scales the groups' rates. Raises
    TrialError where the optimizer has no name.
    """
    tree = parsed(source, "the script does not parse")
    target = target_at(tree, line, expression)
    for node in ast.walk(target.statement):
        if isinstance(node, ast.keyword) and node.arg == "lr" and isinstance(node.value, ast.Constant):
            return _respelled(source, node.value, _number(float(str(node.value.value)) * factor))
    name = _named(target.statement)
    if name is None or not _alone(source, target):
        raise TrialError(
            f"line {line} gives neither the optimizer a name nor its rate a number, so the rate cannot be changed there"
        )
    text = f'for group in {name}.param_groups: group["lr"] *= {_number(factor)}'
    return _inserted(source, (target.statement.end_lineno or 0) + 1, text, like=target.statement.lineno)


def applied_before(source: str, line: int, expression: str, remedies: Sequence[str]) -> str:
    """The source with the remedies applied to `expression` before the statement that covers `line`, without the import.

    Twice is the same as once. Raises TrialError where the source does not parse or has no statement there.
    """
    target = target_at(parsed(source, "the script does not parse"), line, expression)
    call = _apply(expression, remedies)
    if any(_same(statement, call) for statement in target.before[-1:]):
        return source
    statement = target.statement
    if _is_compound(statement) or _alone(source, target):
        row = _first(statement)
        return _inserted(source, row, call, like=row)
    return _spliced(source, statement.lineno, statement.col_offset, f"{call}; ")


def applied_behind(source: str, line: int, expression: str, remedies: Sequence[str]) -> str:
    """The source with the remedies applied behind the statement that covers `line`, and the optimizer that it builds given to them,
    without the import. Raises TrialError, besides, where that statement neither names nor returns the optimizer."""
    return _behind(source, line, expression, lambda name: f"{_apply(expression, remedies)[:-1]}, optimizer={name})")


def rate_scaled_behind(source: str, line: int, expression: str, factor: float) -> str:
    """The source with the learning rates of the optimizer that line `line` builds multiplied behind that.

    Raises as `applied_behind`.
    """
    return _behind(source, line, expression, lambda name: f'for group in {name}.param_groups: group["lr"] *= {_number(factor)}')


def with_import(source: str) -> str:
    """The source with `import unvanish` behind the imports that it begins with, unless it has it."""
    tree = parsed(source, "the script does not parse")
    has = any(isinstance(n, ast.Import) and any(a.name == "unvanish" and not a.asname for a in n.names) for n in tree.body)
    return source if has else _inserted(source, import_row(tree), IMPORT, like=None)


def _apply(expression: str, remedies: Sequence[str]) -> str:
    return f"unvanish.apply({', '.join([expression, *map(json.dumps, remedies)])})"


def _behind(source: str, line: int, expression: str, told: Callable[[str], str]) -> str:
    """The source with a statement about the optimizer behind the one that builds it; `told` makes it of the optimizer's name."""
    tree = parsed(source, "the script does not parse")
    target = target_at(tree, line, expression)
    statement, name = target.statement, _named(target.statement)
    if name is None and isinstance(statement, ast.Return) and isinstance(statement.value, ast.Call) and _alone(source, target):
        lines = lines_of(source)
        ending = "\r\n" if lines[0].endswith("\r\n") else "\n"
        indent = lines[statement.lineno - 1][: len(lines[statement.lineno - 1]) - len(lines[statement.lineno - 1].lstrip(" \t"))]
        head = _spliced(source, statement.lineno, statement.col_offset, f"{RETURNED} = ", cut=len("return "))
        last = statement.end_lineno or statement.lineno
        behind = f"{told(RETURNED)}{ending}{indent}return {RETURNED}"
        return _inserted(head, last + 1, behind, like=statement.lineno)
    if name is None:
        raise TrialError(f"line {line} gives the optimizer no name of its own, so a remedy that alters it cannot be put there")
    text = told(name)
    if any(_same(each, text) for each in _following(tree, statement)):
        return source
    if _alone(source, target):
        return _inserted(source, (statement.end_lineno or 0) + 1, text, like=statement.lineno)
    if text.startswith("for "):
        raise TrialError(f"line {line} has several statements, and a loop cannot stand among them; give the optimizer its own line")
    return _spliced(source, statement.end_lineno or 0, statement.end_col_offset or 0, f"; {text}")


def _is_compound(statement: ast.stmt) -> bool:
    return any(name in statement._fields for name in ("body", "cases"))


def _spliced(source: str, row: int, column: int, text: str, *, cut: int = 0) -> str:
    """The source with `text` in one of its lines; `column` and what is cut away there count UTF-8 bytes, as the parser does."""
    lines = lines_of(source)
    data = lines[row - 1].encode()
    lines[row - 1] = (data[:column] + text.encode() + data[column + cut :]).decode()
    return "".join(lines)


def _number(value: float) -> str:
    return f"{value:.3g}"


def _respelled(source: str, node: ast.Constant, text: str) -> str:
    lines = lines_of(source)
    data = lines[node.lineno - 1].encode()
    lines[node.lineno - 1] = (data[: node.col_offset] + text.encode() + data[node.end_col_offset :]).decode()
    return "".join(lines)


def _named(statement: ast.stmt) -> str | None:
    """The name that a statement gives to what it builds."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    single = targets[0] if len(targets) == 1 else None
    return ast.unparse(single) if isinstance(single, ast.Name | ast.Attribute) else None


def _alone(source: str, target: Target) -> bool:
    """Whether a simple statement has its lines to itself."""
    statement, lines = target.statement, lines_of(source)
    if any(name in statement._fields for name in ("body", "cases")):
        return False
    head = lines[statement.lineno - 1].encode()[: statement.col_offset].decode()
    tail = lines[(statement.end_lineno or 1) - 1].encode()[statement.end_col_offset or 0 :].decode().strip()
    return not head.strip() and (not tail or tail.startswith("#"))


def _written(source: str, tree: ast.Module, row: int, call: str, *, like: int | None = None) -> str:
    """The source with the call before line `row`, indented as line `like` is, and the import if it has none."""
    edited = _inserted(source, row, call, like=like or row)
    if not any(
        isinstance(node, ast.Import) and any(a.name == "unvanish" and not a.asname for a in node.names) for node in tree.body
    ):
        edited = _inserted(edited, import_row(tree), IMPORT, like=None)
    parsed(edited, "an unvanish.apply line does not fit there; put one yourself where the network is built")
    return edited


def import_row(tree: ast.Module) -> int:
    """The line before which an import belongs: behind the last of those that the module begins with."""
    row = 1
    for node in tree.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and row == 1
        if not isinstance(node, ast.Import | ast.ImportFrom) and not docstring:
            break
        row = (node.end_lineno or node.lineno) + 1
    return row


def _inserted(source: str, row: int, text: str, *, like: int | None) -> str:
    lines = lines_of(source)
    model = lines[like - 1] if like is not None else ""
    indent = model[: len(model) - len(model.lstrip(" \t"))]
    ending = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    if row > len(lines) and lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += ending
    return "".join([*lines[: row - 1], f"{indent}{text}{ending}", *lines[row - 1 :]])


def _first(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min(node.lineno for node in (statement, *decorators))


def _same(statement: ast.stmt, call: str) -> bool:
    return ast.dump(statement) == ast.dump(ast.parse(call).body[0])


def _following(tree: ast.Module, statement: ast.stmt) -> list[ast.stmt]:
    """The statements right behind one, as many as may be ours."""
    for node in ast.walk(tree):
        for _, block in ast.iter_fields(node):
            if isinstance(block, list) and statement in block:
                return block[block.index(statement) + 1 :][:OURS]
    return []
