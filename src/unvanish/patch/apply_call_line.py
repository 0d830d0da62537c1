"""Puts `unvanish.apply(...)` on a line of its own, as a person would write it: the import with the other imports, the call where
the optimizer is built. It edits nothing else."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence

from unvanish.errors import TrialError
from unvanish.patch.source.statements import Target, first_line, is_compound, lines_of, parsed, target_at

IMPORT = "import unvanish"
RETURNED = "optimizer"  # what an optimizer is called that was returned without a name
OURS = 2  # statements that may be put behind an optimizer: a call, and a change of its rates


def before_optimizer(source: str, line: int, expression: str, remedies: Sequence[str]) -> str:
    """The source with the remedies applied to `expression` before the statement that covers `line`, which builds the optimizer.

    Where that statement shares its line with others, the call goes onto the same line. Twice is the same as once. Raises
    TrialError where the source does not parse or has no statement there.
    """
    return with_import(applied_before(source, line, expression, remedies))


def behind_optimizer(source: str, line: int, expression: str, remedies: Sequence[str]) -> str:
    """The source with the remedies applied behind the statement that covers `line`, and the optimizer that it builds given to them.

    Raises TrialError, besides, where that statement neither names nor returns the optimizer.
    """
    return with_import(applied_behind(source, line, expression, remedies))


def applied_before(source: str, line: int, expression: str, remedies: Sequence[str]) -> str:
    """The source with the remedies applied to `expression` before the statement that covers `line`, without the import.

    Twice is the same as once. Raises TrialError where the source does not parse or has no statement there.
    """
    target = target_at(parsed(source, "the script does not parse"), line, expression)
    call = _apply(expression, remedies)
    if any(_same(statement, call) for statement in target.before[-1:]):
        return source
    statement = target.statement
    if is_compound(statement) or _alone(source, target):
        row = first_line(statement)
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
        return _returned(source, statement, told(RETURNED))
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


def _returned(source: str, statement: ast.Return, text: str) -> str:
    """The source with a statement between the building of an optimizer and its return, for which it gets a name."""
    lines = lines_of(source)
    line = lines[statement.lineno - 1]
    rest = line.encode()[statement.col_offset + len("return") :].decode()
    gap = len("return") + len(rest) - len(rest.lstrip(" \t"))
    head = _spliced(source, statement.lineno, statement.col_offset, f"{RETURNED} = ", cut=gap)
    behind = f"{text}{_ending(lines)}{_indentation(line)}return {RETURNED}"
    return _inserted(head, (statement.end_lineno or statement.lineno) + 1, behind, like=statement.lineno)


def _spliced(source: str, row: int, column: int, text: str, *, cut: int = 0) -> str:
    """The source with `text` in one of its lines; `column` and what is cut away there count UTF-8 bytes, as the parser does."""
    lines = lines_of(source)
    data = lines[row - 1].encode()
    lines[row - 1] = (data[:column] + text.encode() + data[column + cut :]).decode()
    return "".join(lines)


def _number(value: float) -> str:
    return f"{value:.3g}"


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


def import_row(tree: ast.Module) -> int:
    """The line before which an import belongs: behind the last of those that the module begins with, or before the line that they
    share with other statements."""
    row, last = 1, None
    for node in tree.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and row == 1
        if not isinstance(node, ast.Import | ast.ImportFrom) and not docstring:
            return last.lineno if last is not None and node.lineno < row and not _is_future(last) else row
        row, last = (node.end_lineno or node.lineno) + 1, node
    return row


def _is_future(statement: ast.stmt) -> bool:
    return not isinstance(statement, ast.Import) and getattr(statement, "module", "__future__") == "__future__"


def _inserted(source: str, row: int, text: str, *, like: int | None) -> str:
    lines = lines_of(source)
    ending = _ending(lines)
    if row > len(lines) and lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += ending
    indent = _indentation(lines[like - 1]) if like is not None else ""
    return "".join([*lines[: row - 1], f"{indent}{text}{ending}", *lines[row - 1 :]])


def _ending(lines: Sequence[str]) -> str:
    """How the lines of a source end."""
    first = lines[0] if lines else ""
    return first[len(first.rstrip("\r\n")) :] or "\n"


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t\f"))]


def _same(statement: ast.stmt, call: str) -> bool:
    return ast.dump(statement) == ast.dump(ast.parse(call).body[0])


def _following(tree: ast.Module, statement: ast.stmt) -> list[ast.stmt]:
    """The statements right behind one, as many as may be ours."""
    for node in ast.walk(tree):
        for _, block in ast.iter_fields(node):
            if isinstance(block, list) and statement in block:
                return block[block.index(statement) + 1 :][:OURS]
    return []
