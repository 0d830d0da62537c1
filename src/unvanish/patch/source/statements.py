"""Finds the statement at a line of source text, and the statements before it in its block."""

from __future__ import annotations

import ast
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unvanish.errors import TrialError


@dataclass(frozen=True, slots=True)
class StatementInBlock:
    """A statement before which another may be inserted, and the statements before it in its block."""

    statement: ast.stmt
    before: tuple[ast.stmt, ...]


def statement_at(tree: ast.Module, line: int, expression: str) -> StatementInBlock:
    """The innermost statement that covers a line; of several on one line the first that contains the expression, else the last.

    Raises TrialError where there is none, or where `expression` is no expression.
    """
    every = _statements_in(tree)
    covering = [each for each in every if first_line(each.statement) <= line <= (each.statement.end_lineno or 0)]
    if not covering:
        raise TrialError(f"line {line} of the script holds no statement, so nothing can be put before it")
    return _select_statement(covering, ast.dump(_parse_expression(expression)))


def _parse_expression(text: str) -> ast.stmt:
    """An expression as a statement. Raises TrialError where the text is anything else."""
    body = parse_source(text, f"{text!r} does not name a network; give the script's network a variable").body
    if len(body) != 1 or not isinstance(body[0], ast.Expr):
        raise TrialError(f"{text!r} does not name a network; give the script's network a variable")
    return body[0]


def split_lines(source: str) -> list[str]:
    """The lines of a source as Python's parser counts them, with their line endings."""
    return list(io.StringIO(source, newline=""))


def parse_source(source: str, message: str) -> ast.Module:
    """The tree of a source that compiles. Raises TrialError with a message and the compiler's reason."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # those about the user's own text appear when the script runs
            compile(source, "<script>", "exec", dont_inherit=True)
            return ast.parse(source)
    except (SyntaxError, ValueError) as fault:
        raise TrialError(f"{message} ({fault})") from fault


# Which statement


def _select_statement(covering: Sequence[StatementInBlock], expression: str) -> StatementInBlock:
    """The innermost of the statements that cover a line; of simple ones the first that contains the expression, else the last.

    `expression` is the dump of the expression as a statement.
    """
    simple = [each for each in covering if not is_compound(each.statement)]
    containing = [each for each in simple if _contains(each.statement, expression) and not _is_apply_call(each.statement)]
    return [*covering, *simple, *containing[:1]][-1]


def _statements_in(node: ast.AST) -> Iterator[StatementInBlock]:
    """Every statement, outer ones first. An `elif` is left out: no statement can be inserted before it."""
    for _, block in ast.iter_fields(node):
        for index, child in enumerate(block if isinstance(block, list) else [block]):
            if isinstance(child, ast.stmt):
                if not _is_elif(child, node):
                    yield StatementInBlock(child, tuple(block[:index]))
                yield from _statements_in(child)
            elif isinstance(child, ast.ExceptHandler | ast.match_case):
                yield from _statements_in(child)


def _is_elif(statement: ast.stmt, parent: ast.AST) -> bool:
    return (
        isinstance(statement, ast.If)
        and isinstance(parent, ast.If)
        and parent.orelse == [statement]
        and statement.col_offset == parent.col_offset
    )


def is_compound(statement: ast.stmt) -> bool:
    """Whether a statement contains a block of others."""
    return any(name in statement._fields for name in ("body", "cases"))


def first_line(statement: ast.stmt) -> int:
    """The line on which a statement begins, with its decorators."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min(node.lineno for node in (statement, *decorators))


def _contains(statement: ast.stmt, expression: str) -> bool:
    return any(isinstance(node, ast.expr) and ast.dump(ast.Expr(node)) == expression for node in ast.walk(statement))


def _is_apply_call(statement: ast.stmt) -> bool:
    return ast.unparse(statement).startswith("unvanish.apply(")


def indented_by(line: str, unit: str) -> str:
    """A line that is indented by fours, indented by a file's own unit.

    Example:
        >>> indented_by("        return x", "\\t")
        '\\t\\treturn x'
    """
    rest = line.lstrip(" ")
    return unit * ((len(line) - len(rest)) // 4) + rest
