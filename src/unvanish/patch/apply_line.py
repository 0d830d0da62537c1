"""Puts one `unvanish.apply(...)` into a script's source, before the statement that builds the optimizer. It edits nothing else.

The call goes onto a line that exists already wherever the grammar allows it, so that line numbers in tracebacks stay right.
"""

from __future__ import annotations

import ast
import io
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unvanish.errors import TrialError


def suggestion(expression: str, remedies: Sequence[str]) -> str:
    """The statements that a person adds by hand, on one line: `import unvanish; unvanish.apply(net, "relu", "he-init")`."""
    return f"import unvanish; {_call(expression, remedies)}"


def with_apply(source: str, line: int, expression: str, remedies: Sequence[str]) -> str:
    """The source with the remedies applied to `expression` right before the innermost statement that covers `line` (from 1).

    Everything else stays as it is, to the character. A source that has this very call there comes back unchanged.
    Raises TrialError where the source or the expression does not parse, or the line has no statement.
    """
    tree = parsed(source, "the script does not parse")
    covering = _covering(tree, line)
    wanted = ast.dump(_statement(_call(expression, remedies)))
    if any(ast.dump(s) == wanted for t in covering for s in (t.statement, *t.before[-1:])):
        return source
    edited = _insert(source, _chosen(covering, ast.dump(_statement(expression))), suggestion(expression, remedies))
    parsed(edited, f"an unvanish.apply line does not fit before line {line}; put one yourself where the network is built")
    return edited


def target_at(tree: ast.Module, line: int, expression: str) -> Target:
    """The innermost statement that covers a line; of several on one line the first that reads the expression, else the last."""
    return _chosen(_covering(tree, line), ast.dump(_statement(expression)))


def _covering(tree: ast.Module, line: int) -> list[Target]:
    covering = [t for t in _all_targets(tree) if _first_line(t.statement) <= line <= (t.statement.end_lineno or 0)]
    if not covering:
        raise TrialError(f"line {line} of the script holds no statement, so nothing can be put before it")
    return covering


@dataclass(frozen=True, slots=True)
class Target:
    """A statement that something may be put before, and the statements before it in its block."""

    statement: ast.stmt
    before: tuple[ast.stmt, ...]


def _call(expression: str, remedies: Sequence[str]) -> str:
    return f"unvanish.apply({', '.join([expression, *(json.dumps(name) for name in remedies)])})"


def _statement(text: str) -> ast.stmt:
    """The one statement that an expression is."""
    body = parsed(text, f"{text!r} does not name a network; give the script's network a variable").body
    if len(body) != 1 or not isinstance(body[0], ast.Expr):
        raise TrialError(f"{text!r} does not name a network; give the script's network a variable")
    return body[0]


def lines_of(source: str) -> list[str]:
    """The lines of a source as the parser counts them, with their endings."""
    return list(io.StringIO(source, newline=""))


def parsed(source: str, otherwise: str) -> ast.Module:
    """The tree of a source that compiles. Raises TrialError with the line `otherwise` and the compiler's reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those about the user's own text appear when the script runs
            compile(source, "<script>", "exec", dont_inherit=True)
            return ast.parse(source)
    except (SyntaxError, ValueError) as fault:
        raise TrialError(f"{otherwise} ({fault})") from fault


# Finding the place


def _chosen(covering: Sequence[Target], named: str) -> Target:
    """The innermost statement that covers a line. Of several on one line, the first that reads the expression, else the last.

    `named` is the dump of the expression as a statement.
    """
    simple = [t for t in covering if not _is_compound(t.statement)]
    readers = [t for t in simple if _reads(t.statement, named) and not _is_ours(t.statement)]
    return [*covering, *simple, *readers[:1]][-1]


def _all_targets(node: ast.AST) -> Iterator[Target]:
    """Every statement with those before it in its block, outer ones first. An `elif` is left out: nothing can stand before it."""
    for _, block in ast.iter_fields(node):
        for index, child in enumerate(block if isinstance(block, list) else [block]):
            if isinstance(child, ast.stmt):
                if not _is_elif(child, node):
                    yield Target(child, tuple(block[:index]))
                yield from _all_targets(child)
            elif isinstance(child, ast.ExceptHandler | ast.match_case):
                yield from _all_targets(child)


def _is_elif(statement: ast.stmt, parent: ast.AST) -> bool:
    return (
        isinstance(statement, ast.If)
        and isinstance(parent, ast.If)
        and parent.orelse == [statement]
        and statement.col_offset == parent.col_offset
    )


def _is_compound(statement: ast.stmt) -> bool:
    return any(name in statement._fields for name in ("body", "cases"))


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min(node.lineno for node in (statement, *decorators))


def _reads(statement: ast.stmt, named: str) -> bool:
    return any(isinstance(node, ast.expr) and ast.dump(ast.Expr(node)) == named for node in ast.walk(statement))


def _is_ours(statement: ast.stmt) -> bool:
    return ast.unparse(statement).startswith("unvanish.apply(")


# Writing


def _insert(source: str, target: Target, text: str) -> str:
    statement, before = target.statement, target.before
    lines = lines_of(source)
    if not _is_compound(statement):
        row, column = statement.lineno, statement.col_offset
        return _spliced(lines, row, column, f"{text}; ")
    if before and not _is_compound(before[-1]):
        return _spliced(lines, before[-1].end_lineno or 0, before[-1].end_col_offset or 0, f"; {text}")
    row = _first_line(statement)
    first = lines[row - 1]
    indentation = first[: len(first) - len(first.lstrip(" \t\f"))]
    ending = first[len(first.rstrip("\r\n")) :] or "\n"
    blank = row > 1 and not lines[row - 2].strip()  # a line that is free already keeps the numbers of those below
    return "".join([*lines[: row - 1 - blank], f"{indentation}{text}{ending}", *lines[row - 1 :]])


def _spliced(lines: list[str], row: int, column: int, text: str) -> str:
    """The lines with `text` put into one of them; `column` counts UTF-8 bytes, as the parser does."""
    data = lines[row - 1].encode()
    lines = [*lines[: row - 1], (data[:column] + text.encode() + data[column:]).decode(), *lines[row:]]
    return "".join(lines)
