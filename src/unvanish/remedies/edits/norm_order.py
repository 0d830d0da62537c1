"""Turns x = norm(x + branch(x)) into x = x + branch(norm(x)) in the source of a method. It chooses no method."""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from dataclasses import dataclass

from unvanish.remedies.edits.method_rewriting import CannotRewrite, Definition, Rewriting


@dataclass(frozen=True, slots=True)
class NormFirst(Rewriting):
    """Moves the normalisation that a call makes from behind a residual sum to the beginning of its branch."""

    @property
    def spelled(self) -> str:
        """The form of the sum."""
        return "x + branch(norm(x))"

    def rewrite(self, definition: Definition, call: ast.Call, name: str, *, receiver: bool) -> object:
        """The skip's tensor is normalised into a variable called `name`, and what the branch reads of it becomes that variable."""
        del receiver
        block, at = _place(definition, call)
        total, skip, where = _sum(call, block, at)
        first = 1 + max((i for i in range(where) if skip.id in _assigned(block[i])), default=-1)
        reads = [
            node
            for statement in block[first : where + 1]
            for node in ast.walk(statement)
            if isinstance(node, ast.Name) and node.id == skip.id and isinstance(node.ctx, ast.Load) and node is not skip
        ]
        inside = [node for node in reads if not _within(node, call) or _within(node, total)]
        if not inside:
            raise CannotRewrite(f"the branch behind the sum in line {total.lineno} does not read {skip.id}")
        norm = ast.Assign([ast.Name(name, ast.Store())], ast.Call(copy.deepcopy(call.func), [ast.Name(skip.id, ast.Load())], []))
        for node in inside:
            node.id = name
        beginning = next(i for i in range(first, where + 1) if any(_within(node, block[i]) for node in inside))
        _replace(block[at], call, call.args[0])
        block.insert(beginning, ast.copy_location(norm, block[beginning]))
        return None


def _place(definition: Definition, call: ast.Call) -> tuple[list[ast.stmt], int]:
    """The innermost block with the statement that makes a call, and the statement's position there."""
    found: tuple[list[ast.stmt], int] | None = None
    for node in ast.walk(definition):
        for _, block in ast.iter_fields(node):
            if isinstance(block, list) and block and all(isinstance(each, ast.stmt) for each in block):
                found = next(((block, i) for i, each in enumerate(block) if _within(call, each)), found)
    if found is None:
        raise CannotRewrite(f"the call in line {call.lineno} is no part of a statement")
    return found


def _sum(call: ast.Call, block: Sequence[ast.stmt], at: int) -> tuple[ast.expr, ast.Name, int]:
    """The sum that a call normalises, its term that is the skip, and the position of its statement."""
    if len(call.args) != 1:
        raise CannotRewrite(f"the normalisation in line {call.lineno} takes more than a sum")
    given = call.args[0]
    if isinstance(given, ast.BinOp) and isinstance(given.op, ast.Add):
        return given, _skip(given.left, given.right, block[:at]), at
    if isinstance(given, ast.Name):
        for where in reversed(range(at)):
            statement = block[where]
            if given.id not in _assigned(statement):
                continue
            value = statement.value if isinstance(statement, ast.Assign) else None
            if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
                return value, _skip(value.left, value.right, block[:where]), where
            break
    raise CannotRewrite(f"what the normalisation in line {call.lineno} takes is not written as a sum beside it")


def _skip(left: ast.expr, right: ast.expr, before: Sequence[ast.stmt]) -> ast.Name:
    """The term of a sum that the other one is computed from."""
    for one, other in ((left, right), (right, left)):
        if not isinstance(one, ast.Name):
            continue
        since = 1 + max((i for i, each in enumerate(before) if one.id in _assigned(each)), default=-1)
        made = {name for each in before[since:] for name in _assigned(each)}
        if {one.id, *made} & {node.id for node in ast.walk(other) if isinstance(node, ast.Name)}:
            return one
    raise CannotRewrite(f"neither term of the sum in line {left.lineno} is the other's own input")


def _assigned(statement: ast.stmt) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _within(node: ast.AST, outer: ast.AST) -> bool:
    return any(each is node for each in ast.walk(outer))


def _replace(statement: ast.stmt, old: ast.expr, new: ast.expr) -> None:
    for node in ast.walk(statement):
        for field, value in ast.iter_fields(node):
            if value is old:
                setattr(node, field, new)
            elif isinstance(value, list) and old in value:
                value[value.index(old)] = new
