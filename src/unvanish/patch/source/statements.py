"""Which statement of the user's source stands at a line, and what stands before it. It edits nothing."""

from __future__ import annotations

import ast
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unvanish.errors import TrialError


@dataclass(frozen=True, slots=True)
class Target:
    """A statement that something may be put before, and the statements before it in its block."""

    statement: ast.stmt
    before: tuple[ast.stmt, ...]


def target_at(tree: ast.Module, line: int, expression: str) -> Target:
    """The innermost statement that covers a line; of several on one line the first that reads the expression, else the last.

    Raises TrialError where there is none, or where the expression names nothing.
    """
    covering = [t for t in _all_targets(tree) if first_line(t.statement) <= line <= (t.statement.end_lineno or 0)]
    if not covering:
        raise TrialError(f"line {line} of the script holds no statement, so nothing can be put before it")
    return _chosen(covering, ast.dump(_statement(expression)))


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
    simple = [t for t in covering if not is_compound(t.statement)]
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


def is_compound(statement: ast.stmt) -> bool:
    """Whether a statement holds a block of others."""
    return any(name in statement._fields for name in ("body", "cases"))


def first_line(statement: ast.stmt) -> int:
    """The line on which a statement begins, with its decorators."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min(node.lineno for node in (statement, *decorators))


def _reads(statement: ast.stmt, named: str) -> bool:
    return any(isinstance(node, ast.expr) and ast.dump(ast.Expr(node)) == named for node in ast.walk(statement))


def _is_ours(statement: ast.stmt) -> bool:
    return ast.unparse(statement).startswith("unvanish.apply(")
