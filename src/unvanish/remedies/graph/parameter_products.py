"""Finds the parameters with which calls in the user's `forward` multiply a signal (`x @ self.w`), in a graph of torch.fx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx

_TWO_OPERANDS = frozenset({"matmul", "mm", "bmm"})
_BIAS_FIRST = frozenset({"addmm", "baddbmm"})
_OUTPUTS_FIRST = frozenset({"linear", "conv1d", "conv2d", "conv3d"})
AXIS_SWAPS = frozenset({"t", "transpose", "swapaxes", "swapdims", "getattr"})
"""Calls that only change the order of axes; getattr is one for .T and .mT alone."""

_Axes = tuple[int, ...]
_Operand = tuple[str, _Axes]  # a parameter's path, and its axes in the order in which a call gets them


@dataclass(frozen=True, slots=True)
class ParameterFactor:
    """The path of a parameter in a product, its axes over which the product sums (`inputs`), and the others (`outputs`)."""

    path: str
    inputs: _Axes
    outputs: _Axes


def find_parameter_factor(node: fx.Node, op: str, parameters: Mapping[str, Tensor]) -> ParameterFactor | None:
    """The parameter, of two axes or more, with which a product multiplies a signal; None where there is none or it is ambiguous.

    Arguments:
        node: the call.
        op: the call's `op_name`.
        parameters: the network's parameters by path.
    """
    operands = [_operand(argument, parameters) for argument in _tensor_arguments(node)]
    if op == "einsum":
        return _einsum_factor(node.args[0] if node.args else None, operands[1:])
    if op in _OUTPUTS_FIRST:
        return _outputs_first_factor(operands[1]) if len(operands) > 1 and operands[0] is None else None
    pair = operands[1:] if op in _BIAS_FIRST else operands if op in _TWO_OPERANDS else []
    if len(pair) != 2:
        return None
    left, right = pair
    if left is None and right is not None:
        return ParameterFactor(right[0], right[1][-2:-1], right[1][-1:]) if len(right[1]) == 2 else None
    if right is None and left is not None:
        return ParameterFactor(left[0], left[1][-1:], left[1][-2:-1]) if len(left[1]) == 2 else None
    return None


def _tensor_arguments(node: fx.Node) -> list[Any]:
    keyword_arguments = [node.kwargs[name] for name in ("input", "weight", "other", "mat1", "mat2") if name in node.kwargs]
    return [*node.args, *keyword_arguments]


def _operand(argument: Any, parameters: Mapping[str, Tensor]) -> _Operand | None:
    """A parameter as a call gets it, directly or with its axes in another order; None for anything else."""
    if not isinstance(argument, fx.Node):
        return None
    if argument.op == "get_attr":
        parameter = parameters.get(str(argument.target))
        return None if parameter is None else (str(argument.target), tuple(range(parameter.dim())))
    source = _operand(argument.args[0], parameters) if argument.args else None
    if source is None:
        return None
    order = _axis_order(argument, len(source[1]))
    return None if order is None else (source[0], tuple(source[1][axis] for axis in order))


def _axis_order(node: fx.Node, axes: int) -> _Axes | None:
    """The order in which a call puts the axes of a tensor; None where it does something else."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    settings = tuple(node.args[1:])
    axis_order = list(range(axes))
    if name == "t" or (name == "getattr" and settings in (("T",), ("mT",)) and axes == 2):
        return tuple(reversed(axis_order))
    if name in ("transpose", "swapaxes", "swapdims") and len(settings) == 2 and all(isinstance(axis, int) for axis in settings):
        one, other = (int(axis) % axes for axis in settings)  # pyright: ignore[reportArgumentType]
        axis_order[one], axis_order[other] = other, one
        return tuple(axis_order)
    return None


def _einsum_factor(equation: Any, operands: list[_Operand | None]) -> ParameterFactor | None:
    """The factor of an einsum of one signal and one parameter, such as "bi,io->bo"."""
    if not isinstance(equation, str) or "->" not in equation or sum(operand is not None for operand in operands) != 1:
        return None
    terms_text, result = equation.replace(" ", "").split("->")
    terms = terms_text.split(",")
    if len(terms) != 2 or len(operands) != 2:
        return None
    parameter_index = 0 if operands[0] is not None else 1
    operand, own, other = operands[parameter_index], terms[parameter_index], terms[1 - parameter_index]
    if operand is None or len(own) != len(operand[1]):
        return None
    inputs = tuple(axis for letter, axis in zip(own, operand[1], strict=True) if letter in other and letter not in result)
    outputs = tuple(axis for letter, axis in zip(own, operand[1], strict=True) if letter in result and letter not in other)
    return ParameterFactor(operand[0], inputs, outputs) if inputs and len(inputs) + len(outputs) == len(own) else None


def _outputs_first_factor(operand: _Operand | None) -> ParameterFactor | None:
    """The factor for a weight whose first axis is that of the outputs."""
    if operand is None or len(operand[1]) < 2:
        return None
    return ParameterFactor(operand[0], operand[1][1:], operand[1][:1])
