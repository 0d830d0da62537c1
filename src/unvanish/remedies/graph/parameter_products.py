"""Parameters that a call in the user's own `forward` multiplies a signal with, as torch.fx saw it. It computes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

_BOTH = frozenset({"matmul", "mm", "bmm"})
_BEHIND_A_BIAS = frozenset({"addmm", "baddbmm"})
_OUTPUTS_FIRST = frozenset({"linear", "conv1d", "conv2d", "conv3d"})
TURNS = frozenset({"t", "transpose", "swapaxes", "swapdims", "getattr"})
"""Calls that do no more than change the order of axes; getattr is one for .T and .mT alone."""

_Axes = tuple[int, ...]
_Operand = tuple[str, _Axes]  # a parameter's path, and its axes in the order in which a call finds them


@dataclass(frozen=True, slots=True)
class Factor:
    """A parameter by its path; of its axes, those that the product sums over, and those that come out."""

    path: str
    inputs: _Axes
    outputs: _Axes


def factor_of(node: fx.Node, op: str, parameters: Mapping[str, Tensor]) -> Factor | None:
    """The parameter, of two axes or more, that a product multiplies a signal with; None where there is none or that is not clear.

    `op` is the call's `op_name`.
    """
    operands = [_operand(argument, parameters) for argument in _arguments(node)]
    if op == "einsum":
        return _summed(node.args[0] if node.args else None, operands[1:])
    if op in _OUTPUTS_FIRST:
        return _split(operands[1]) if len(operands) > 1 and operands[0] is None else None
    pair = operands[1:] if op in _BEHIND_A_BIAS else operands if op in _BOTH else []
    if len(pair) != 2:
        return None
    left, right = pair
    if left is None and right is not None:
        return Factor(right[0], right[1][-2:-1], right[1][-1:]) if len(right[1]) == 2 else None
    if right is None and left is not None:
        return Factor(left[0], left[1][-1:], left[1][-2:-1]) if len(left[1]) == 2 else None
    return None


def _arguments(node: fx.Node) -> list[Any]:
    named = [node.kwargs[name] for name in ("input", "weight", "other", "mat1", "mat2") if name in node.kwargs]
    return [*node.args, *named]


def _operand(argument: Any, parameters: Mapping[str, Tensor]) -> _Operand | None:
    """A parameter as a call finds it, straight or with its axes in another order; None for all else."""
    if not isinstance(argument, fx.Node):
        return None
    if argument.op == "get_attr":
        parameter = parameters.get(str(argument.target))
        return None if parameter is None else (str(argument.target), tuple(range(parameter.dim())))
    source = _operand(argument.args[0], parameters) if argument.args else None
    if source is None:
        return None
    order = _order(argument, len(source[1]))
    return None if order is None else (source[0], tuple(source[1][axis] for axis in order))


def _order(node: fx.Node, axes: int) -> _Axes | None:
    """The order that a call gives to the axes of a tensor; None where it does something else."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    rest = tuple(node.args[1:])
    straight = list(range(axes))
    if name == "t" or (name == "getattr" and rest in (("T",), ("mT",)) and axes == 2):
        return tuple(reversed(straight))
    if name in ("transpose", "swapaxes", "swapdims") and len(rest) == 2 and all(isinstance(axis, int) for axis in rest):
        one, other = (int(axis) % axes for axis in rest)  # pyright: ignore[reportArgumentType]
        straight[one], straight[other] = other, one
        return tuple(straight)
    return None


def _summed(equation: Any, operands: list[_Operand | None]) -> Factor | None:
    """The factor of an einsum of one signal and one parameter, such as "bi,io->bo"."""
    if not isinstance(equation, str) or "->" not in equation or sum(operand is not None for operand in operands) != 1:
        return None
    given, result = equation.replace(" ", "").split("->")
    terms = given.split(",")
    if len(terms) != 2 or len(operands) != 2:
        return None
    at = 0 if operands[0] is not None else 1
    operand, own, other = operands[at], terms[at], terms[1 - at]
    if operand is None or len(own) != len(operand[1]):
        return None
    inputs = tuple(axis for letter, axis in zip(own, operand[1], strict=True) if letter in other and letter not in result)
    outputs = tuple(axis for letter, axis in zip(own, operand[1], strict=True) if letter in result and letter not in other)
    return Factor(operand[0], inputs, outputs) if inputs and len(inputs) + len(outputs) == len(own) else None


def _split(operand: _Operand | None) -> Factor | None:
    """The factor of a weight whose first axis is that of the outputs."""
    if operand is None or len(operand[1]) < 2:
        return None
    return Factor(operand[0], operand[1][1:], operand[1][:1])
