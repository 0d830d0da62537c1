"""Rewrites x = norm(x + branch(x)) into x = x + branch(norm(x)) in the source of a method (post-norm into pre-norm)."""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from dataclasses import dataclass

from unvanish.remedies.edits.method_rewriting import CallRewriting, CannotRewrite, Definition


@dataclass(frozen=True, slots=True)
class NormFirst(CallRewriting):
    """Moves the call of a normalisation from behind a residual sum to the beginning of its branch."""

    @property
    def replacement_text(self) -> str:
        """The formula of a pre-norm block."""
        return "x + branch(norm(x))"

    def rewrite(self, definition: Definition, call: ast.Call, name: str, *, is_method_call: bool) -> object:
        """Assigns norm(skip) to a variable called `name` before the branch, which reads that variable; nothing has to be bound."""
        del is_method_call
        block, at = _find_statement(definition, call)
        sum_node, skip, sum_at = _find_sum(call, block, at)
        first = 1 + max((i for i in range(sum_at) if skip.id in _assigned_names(block[i])), default=-1)
        skip_reads = [
            node
            for statement in block[first : sum_at + 1]
            for node in ast.walk(statement)
            if isinstance(node, ast.Name) and node.id == skip.id and isinstance(node.ctx, ast.Load) and node is not skip
        ]
        branch_reads = [node for node in skip_reads if not _is_within(node, call) or _is_within(node, sum_node)]
        if not branch_reads:
            raise CannotRewrite(f"the branch behind the sum in line {sum_node.lineno} does not read {skip.id}")
        norm = ast.Assign([ast.Name(name, ast.Store())], ast.Call(copy.deepcopy(call.func), [ast.Name(skip.id, ast.Load())], []))
        for node in branch_reads:
            node.id = name
        branch_start = next(i for i in range(first, sum_at + 1) if any(_is_within(node, block[i]) for node in branch_reads))
        _replace_expression(block[at], call, call.args[0])
        block.insert(branch_start, ast.copy_location(norm, block[branch_start]))
        return None


def _find_statement(definition: Definition, call: ast.Call) -> tuple[list[ast.stmt], int]:
    """The innermost block with the statement that contains a call, and the statement's position there."""
    place: tuple[list[ast.stmt], int] | None = None
    for node in ast.walk(definition):
        for _, block in ast.iter_fields(node):
            if isinstance(block, list) and block and all(isinstance(statement, ast.stmt) for statement in block):
                place = next(((block, i) for i, statement in enumerate(block) if _is_within(call, statement)), place)
    if place is None:
        raise CannotRewrite(f"the call in line {call.lineno} is no part of a statement")
    return place


def _find_sum(call: ast.Call, block: Sequence[ast.stmt], at: int) -> tuple[ast.expr, ast.Name, int]:
    """The sum that a call normalises, its term that is the skip, and the position of its statement."""
    if len(call.args) != 1:
        raise CannotRewrite(f"the normalisation in line {call.lineno} takes more than a sum")
    argument = call.args[0]
    if isinstance(argument, ast.BinOp) and isinstance(argument.op, ast.Add):
        return argument, _find_skip(argument.left, argument.right, block[:at]), at
    if isinstance(argument, ast.Name):
        for sum_at in reversed(range(at)):
            statement = block[sum_at]
            if argument.id not in _assigned_names(statement):
                continue
            value = statement.value if isinstance(statement, ast.Assign) else None
            if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
                return value, _find_skip(value.left, value.right, block[:sum_at]), sum_at
            break
    raise CannotRewrite(f"what the normalisation in line {call.lineno} takes is not written as a sum beside it")


def _find_skip(left: ast.expr, right: ast.expr, before: Sequence[ast.stmt]) -> ast.Name:
    """The term of a sum from which the other term is computed."""
    for term, other in ((left, right), (right, left)):
        if not isinstance(term, ast.Name):
            continue
        last_assigned = 1 + max((i for i, statement in enumerate(before) if term.id in _assigned_names(statement)), default=-1)
        derived_names = {name for statement in before[last_assigned:] for name in _assigned_names(statement)}
        if {term.id, *derived_names} & {node.id for node in ast.walk(other) if isinstance(node, ast.Name)}:
            return term
    raise CannotRewrite(f"neither term of the sum in line {left.lineno} is the other's own input")


def _assigned_names(statement: ast.stmt) -> set[str]:
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _is_within(node: ast.AST, outer: ast.AST) -> bool:
    return any(inner is node for inner in ast.walk(outer))


def _replace_expression(statement: ast.stmt, old: ast.expr, new: ast.expr) -> None:
    for node in ast.walk(statement):
        for field, value in ast.iter_fields(node):
            if value is old:
                setattr(node, field, new)
            elif isinstance(value, list) and old in value:
                value[value.index(old)] = new
