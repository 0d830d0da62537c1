"""Inserts `unvanish.apply(...)` into source text, before or behind the statement that builds the optimizer, and its import."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence

from unvanish.errors import TrialError
from unvanish.patch.source.statements import (
    StatementInBlock,
    first_line,
    is_compound,
    parse_source,
    split_lines,
    statement_at,
)

IMPORT = "import unvanish"
RETURNED_NAMES = ("optimizer", "new_optimizer")
"""Names for an optimizer that was returned without one: the first that its statement does not read."""
MOST_OWN_STATEMENTS = 2
"""Statements that a patch may put behind an optimizer: a call, and a change of its learning rates."""


def insert_apply_before_optimizer(source: str, line: int, expression: str, remedies: Sequence[str]) -> str:
    """The source with remedies applied to the network before the statement that builds the optimizer, and with the import.

    The call stands on a line of its own, or on the statement's line where that one is shared with others. A source that has the
    call already stays as it is.

    Arguments:
        source: text of the file.
        line: a line, from 1, of the statement that builds the optimizer.
        expression: how the source names the network there, such as "net" or "self.model".
        remedies: names of the remedies, in order.

    Raises:
        TrialError: the source does not parse or has no statement at that line, or `expression` is no expression.

    Example:
        >>> source = "net = Net()\\nopt = SGD(net.parameters(), lr=0.1)\\n"
        >>> print(insert_apply_before_optimizer(source, 2, "net", ["relu", "he-init"]), end="")
        import unvanish
        net = Net()
        unvanish.apply(net, "relu", "he-init")
        opt = SGD(net.parameters(), lr=0.1)
    """
    return add_import(add_apply_before(source, line, expression, remedies))


def insert_apply_after_optimizer(source: str, line: int, expression: str, remedies: Sequence[str]) -> str:
    """The source with remedies applied behind the statement that builds the optimizer, which they get, and with the import.

    Arguments are those of `insert_apply_before_optimizer`. An optimizer that is returned as it is built gets a name.

    Raises:
        TrialError: as there, and where the statement neither names nor returns the optimizer.

    Example:
        >>> source = "net = Net()\\nopt = SGD(net.parameters(), lr=0.1)\\n"
        >>> print(insert_apply_after_optimizer(source, 2, "net", ["clip-norm"]), end="")
        import unvanish
        net = Net()
        opt = SGD(net.parameters(), lr=0.1)
        unvanish.apply(net, "clip-norm", optimizer=opt)
    """
    return add_import(add_apply_after(source, line, expression, remedies))


def add_apply_before(source: str, line: int, expression: str, remedies: Sequence[str]) -> str:
    """As `insert_apply_before_optimizer`, without the import."""
    target = statement_at(parse_source(source, "the script does not parse"), line, expression)
    call = apply_call(expression, remedies)
    if any(_is_same(statement, call) for statement in target.before[-1:]):
        return source
    statement = target.statement
    if is_compound(statement) or _is_alone(source, target):
        row = first_line(statement)
        return _insert_line(source, row, call, like=row)
    return _insert_in_line(source, statement.lineno, statement.col_offset, f"{call}; ")


def add_apply_after(source: str, line: int, expression: str, remedies: Sequence[str]) -> str:
    """As `insert_apply_after_optimizer`, without the import."""
    return _add_after(source, line, expression, lambda name: f"{apply_call(expression, remedies)[:-1]}, optimizer={name})")


def add_rate_scaling_after(source: str, line: int, expression: str, factor: float) -> str:
    """The source with a loop behind the statement that builds the optimizer, which multiplies its learning rates by a factor.

    Arguments and errors are those of `insert_apply_after_optimizer`.
    """
    text = f'param_groups: group["lr"] *= {factor:.3g}'
    return _add_after(source, line, expression, lambda name: f"for group in {name}.{text}")


def add_import(source: str) -> str:
    """The source with `import unvanish` behind its leading imports, unless it has that import."""
    tree = parse_source(source, "the script does not parse")
    is_imported = any(isinstance(n, ast.Import) and any(a.name == "unvanish" and not a.asname for a in n.names) for n in tree.body)
    return source if is_imported else _insert_line(source, import_row(tree), IMPORT, like=None)


def apply_call(expression: str, remedies: Sequence[str]) -> str:
    """The call that applies remedies to the network that an expression names."""
    return f"unvanish.apply({', '.join([expression, *map(json.dumps, remedies)])})"


def _add_after(source: str, line: int, expression: str, statement_about: Callable[[str], str]) -> str:
    """The source with a statement behind the one that builds the optimizer, made from the optimizer's name."""
    tree = parse_source(source, "the script does not parse")
    target = statement_at(tree, line, expression)
    statement, name = target.statement, _assigned_name(target.statement)
    if name is None and isinstance(statement, ast.Return) and isinstance(statement.value, ast.Call) and _is_alone(source, target):
        name = _free_name(statement)
        return _name_returned_optimizer(source, statement, name, statement_about(name))
    if name is None:
        raise TrialError(f"line {line} gives the optimizer no name of its own, so a remedy that alters it cannot be put there")
    text = statement_about(name)
    if any(_is_same(following, text) for following in _following_statements(tree, statement)):
        return source
    if _is_alone(source, target):
        return _insert_line(source, (statement.end_lineno or 0) + 1, text, like=statement.lineno)
    if is_compound(ast.parse(text).body[0]):
        raise TrialError(f"line {line} has several statements, and a loop cannot stand among them; give the optimizer its own line")
    return _insert_in_line(source, statement.end_lineno or 0, statement.end_col_offset or 0, f"; {text}")


def _free_name(statement: ast.Return) -> str:
    """A name for what a statement returns: assigning one that it reads from outside of its function would hide that from it."""
    names = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
    return next((name for name in RETURNED_NAMES if name not in names), RETURNED_NAMES[0])


def _name_returned_optimizer(source: str, statement: ast.Return, name: str, text: str) -> str:
    """The source with a statement between the building of an optimizer, which gets a name, and its return."""
    lines = split_lines(source)
    line = lines[statement.lineno - 1]
    rest = line.encode()[statement.col_offset + len("return") :].decode()
    gap = len("return") + len(rest) - len(rest.lstrip(" \t"))
    named = _insert_in_line(source, statement.lineno, statement.col_offset, f"{name} = ", cut=gap)
    behind = f"{text}{_line_ending(lines)}{_indentation(line)}return {name}"
    return _insert_line(named, (statement.end_lineno or statement.lineno) + 1, behind, like=statement.lineno)


def _insert_in_line(source: str, row: int, column: int, text: str, *, cut: int = 0) -> str:
    """The source with text inserted in a line, and `cut` bytes removed there; columns are UTF-8 bytes, as in `ast`."""
    lines = split_lines(source)
    data = lines[row - 1].encode()
    lines[row - 1] = (data[:column] + text.encode() + data[column + cut :]).decode()
    return "".join(lines)


def _assigned_name(statement: ast.stmt) -> str | None:
    """The name or attribute to which a statement assigns, where that is only one."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    single = targets[0] if len(targets) == 1 else None
    return ast.unparse(single) if isinstance(single, ast.Name | ast.Attribute) else None


def _is_alone(source: str, target: StatementInBlock) -> bool:
    """Whether a simple statement shares none of its lines with others."""
    statement, lines = target.statement, split_lines(source)
    if is_compound(statement):
        return False
    head = lines[statement.lineno - 1].encode()[: statement.col_offset].decode()
    tail = lines[(statement.end_lineno or 1) - 1].encode()[statement.end_col_offset or 0 :].decode().strip()
    return not head.strip() and (not tail or tail.startswith("#"))


def import_row(tree: ast.Module) -> int:
    """The line before which an import belongs: behind the leading imports, or before the line that they share with other
    statements."""
    row, last = 1, None
    for node in tree.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and row == 1
        if not isinstance(node, ast.Import | ast.ImportFrom) and not docstring:
            return last.lineno if last is not None and node.lineno < row and not _is_future(last) else row
        row, last = (node.end_lineno or node.lineno) + 1, node
    return row


def _is_future(statement: ast.stmt) -> bool:
    return not isinstance(statement, ast.Import) and getattr(statement, "module", "__future__") == "__future__"


def _insert_line(source: str, row: int, text: str, *, like: int | None) -> str:
    """The source with a new line before line `row`, indented like the line `like`."""
    lines = split_lines(source)
    ending = _line_ending(lines)
    if row > len(lines) and lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += ending
    indent = _indentation(lines[like - 1]) if like is not None else ""
    return "".join([*lines[: row - 1], f"{indent}{text}{ending}", *lines[row - 1 :]])


def _line_ending(lines: Sequence[str]) -> str:
    """The line ending of a source, by its first line."""
    first = lines[0] if lines else ""
    return first[len(first.rstrip("\r\n")) :] or "\n"


def _indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t\f"))]


def _is_same(statement: ast.stmt, text: str) -> bool:
    return ast.dump(statement) == ast.dump(ast.parse(text).body[0])


def _following_statements(tree: ast.Module, statement: ast.stmt) -> list[ast.stmt]:
    """The statements right behind one, as many as a patch may have put there."""
    for node in ast.walk(tree):
        for _, block in ast.iter_fields(node):
            if isinstance(block, list) and statement in block:
                return block[block.index(statement) + 1 :][:MOST_OWN_STATEMENTS]
    return []
