"""Finds the criteria (loss functions) of a loss by walking its autograd graph back to the last weights.

The graph shows the criterion however it is written: as a module, a function, or arithmetic. Only its last part is walked, from the
loss back to the first operations that use parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from unvanish.observe.output_head.graph_nodes import (
    VIEWS,
    Edge,
    NodeKey,
    find_weight,
    iterate_views,
    node_key,
    operation_name,
    read_attribute,
    saved_tensor,
    skip_views,
    uses_parameter,
)

MAX_NODES = 2000  # of a loss; in a larger graph no criterion is looked for
MAX_DEPTH = 64  # operations between the criterion and the weights

ACTIVATIONS: Mapping[str, str] = {
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Sigmoid": "sigmoid",
    "LogSigmoid": "logsigmoid",
    "Tanh": "tanh",
    "Relu": "relu",
    "LeakyRelu": "leaky_relu",
    "Elu": "elu",
    "Gelu": "gelu",
    "Silu": "silu",
    "Softplus": "softplus",
    "Hardtanh": "hardtanh",
    "Hardsigmoid": "hardsigmoid",
    "Exp": "exp",
}
SCALING = frozenset({"Mul", "Div", "Add", "Sub", "Neg", "Rsub"})
CLAMPS = frozenset({"Clamp", "ClampMin", "ClampMax"})
TORCH_LOSSES: Mapping[str, str] = {
    "NllLoss": "likelihood",
    "NllLoss2D": "likelihood",
    "BinaryCrossEntropy": "binary-cross-entropy",
    "BinaryCrossEntropyWithLogits": "binary-cross-entropy-with-logits",
    "MseLoss": "squared",
    "SmoothL1Loss": "absolute",
    "HuberLoss": "absolute",
}
SELECTIONS = frozenset({"Gather", "Log"})  # what selects the probability of the action that a policy has chosen
ERROR_OPERATIONS = frozenset({"Pow", "Square", "Abs", "Mul"})
# The values that the last operation can put out. What is scaled or shifted afterwards has no known bounds.
ACTIVATION_BOUNDS: Mapping[str, tuple[float, float]] = {
    "softmax": (0.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "relu": (0.0, float("inf")),
    "softplus": (0.0, float("inf")),
    "exp": (0.0, float("inf")),
    "log_softmax": (float("-inf"), 0.0),
    "logsigmoid": (float("-inf"), 0.0),
}


COMPILED = "CompiledFunctionBackward"  # the node of all that torch.compile has compiled together


@dataclass(frozen=True, slots=True)
class HeadPath:
    """The operations between the last weights and a criterion.

    `activations` are in the order of the forward pass; "scaled" stands for arithmetic with constants. `weight` is None where the
    weights were not reached. `softmax_extent` is the number of values that the last softmax among them normalised, and
    `over_examples` whether these are the examples of the batch. `compiled` is the node of compiled code where the path ends, which
    shows no weights.
    """

    activations: tuple[str, ...]
    weight: Tensor | None
    softmax_extent: int | None = None
    over_examples: bool = False
    compiled: NodeKey | None = None


@dataclass(slots=True)
class Criterion:
    """One criterion of a loss.

    `prediction` is the criterion's input and `target` what that is compared with, both detached; either may be missing.
    `difference` is prediction minus target where only that is known. `comparisons` says how often each value of the network's
    output is compared: more than once where shapes were broadcast.
    """

    kind: str
    path: HeadPath
    prediction: Tensor | None = None
    target: Tensor | None = None
    difference: Tensor | None = None
    comparisons: float = 1.0

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and greatest value that the network's last operation can give; None where they are not known."""
        return ACTIVATION_BOUNDS.get(self.path.activations[-1]) if self.path.activations else None


def find_criteria(loss: Tensor, outputs: Mapping[NodeKey, Tensor]) -> list[Criterion]:
    """The criteria of a loss, in the order of the graph; none for a graph of an unknown form.

    `outputs` are the detached outputs of networks by the `node_key` of their `grad_fn`.

    Example:
        >>> output = torch.nn.Linear(5, 3)(torch.zeros(4, 5))
        >>> loss = torch.nn.functional.mse_loss(output.tanh(), torch.zeros(4, 3))
        >>> (criterion,) = find_criteria(loss, {})
        >>> criterion.kind, criterion.path.activations, criterion.bounds
        ('squared', ('tanh',), (-1.0, 1.0))
    """
    return search_loss(loss, outputs).criteria


@dataclass(frozen=True, slots=True)
class LossSearch:
    """The criteria found in a loss, and the outputs of compiled code that are a part of it, in which more may be found."""

    criteria: list[Criterion]
    compiled: list[Edge]


def search_loss(loss: Tensor, outputs: Mapping[NodeKey, Tensor]) -> LossSearch:
    """Like `find_criteria`, with the outputs of compiled code that the search has come to."""
    search, visited = LossSearch([], []), set[Any]()
    to_visit = [(loss.grad_fn, loss.output_nr)]
    while to_visit and len(visited) < MAX_NODES:
        node, number = to_visit.pop()
        if node is not None and node.name() == COMPILED:
            search.compiled.append((node_key(node), number))
            continue
        if node is None or node in visited or uses_parameter(node):
            continue
        visited.add(node)
        criterion = _match_criterion(node, outputs)
        if criterion is not None:
            search.criteria.append(criterion)
        else:
            to_visit.extend(reversed(node.next_functions))
    return search if len(visited) < MAX_NODES else LossSearch([], [])


def continue_path(criterion: Criterion, eager_outputs: Mapping[Edge, Tensor]) -> Criterion:
    """The criterion with its path led on through compiled code, where the eager outputs of that code are known."""
    path, compared = criterion.path, criterion.prediction if criterion.prediction is not None else criterion.difference
    ends = [output for (key, _), output in eager_outputs.items() if key == path.compiled]
    if not ends:
        return criterion
    end = next((o for o in ends if compared is not None and o.numel() == compared.numel()), ends[0])
    inner = _trace_head_path(end.grad_fn)
    has_extent = path.softmax_extent is not None
    extent = (path.softmax_extent, path.over_examples) if has_extent else (inner.softmax_extent, inner.over_examples)
    return replace(criterion, path=HeadPath((*inner.activations, *path.activations), inner.weight, *extent))


def _match_criterion(node: Any, outputs: Mapping[NodeKey, Tensor]) -> Criterion | None:
    """The criterion that a node computes, None where it computes none."""
    name = operation_name(node)
    child = node.next_functions[0][0] if node.next_functions else None
    if name in TORCH_LOSSES and child is not None:
        return _match_torch_loss(node, TORCH_LOSSES[name], child)
    if name in ERROR_OPERATIONS:
        return _match_difference(node, name, outputs) or _match_soft_targets(node) or _match_policy_gradient(node)
    if name == "Log" and child is not None:
        return Criterion("logarithm", _trace_head_path(child), saved_tensor(node, "self"))
    return None


def _match_torch_loss(node: Any, kind: str, child: Any) -> Criterion:
    """A loss function of torch, whose node saves what it compares."""
    prediction, target = saved_tensor(node, "self"), saved_tensor(node, "target")
    if len(node.next_functions) > 1 and node.next_functions[1][0] is not None:
        target = None  # the other side has a gradient as well, and is no target
        kind = "pair"
    if kind == "likelihood":
        target = _mask_ignored(target, read_attribute(node, "_saved_ignore_index"))
        log_softmax = skip_views(child)
        if operation_name(log_softmax) == "LogSoftmax":
            logits = log_softmax.next_functions[0][0]
            path = _trace_head_path(logits) if logits is not None else HeadPath((), None)
            extent = _softmax_extent(log_softmax)
            if extent is not None and (extent[0] == 1 or extent[1]):  # no part of an ordinary cross entropy
                path = replace(
                    path, activations=(*path.activations, "log_softmax"), softmax_extent=extent[0], over_examples=extent[1]
                )
            return Criterion("cross-entropy", path, prediction, target)
    return Criterion(kind, _trace_head_path(child), prediction, target, comparisons=_comparisons_per_value(child))


def _mask_ignored(target: Tensor | None, ignore_index: int | None) -> Tensor | None:
    """The classes, with -1 for the loss's `ignore_index`, such as the padding of a sentence."""
    return target if target is None or ignore_index is None else target.masked_fill(target == _to_signed(ignore_index), -1)


def _to_signed(number: int) -> int:
    """A saved integer as it was: autograd returns a negative one as unsigned."""
    return number if number < 2**62 else number - 2**64


def _comparisons_per_value(child: Any) -> float:
    """How many values a broadcast made of each value of its input; 1 where nothing was broadcast."""
    before = read_attribute(child, "_saved_self_sym_sizes")
    after = child._input_metadata[0].shape if operation_name(child) == "Expand" else None
    return math.prod(after) / max(1, math.prod(before)) if after is not None and before is not None else 1.0


def _match_difference(node: Any, name: str, outputs: Mapping[NodeKey, Tensor]) -> Criterion | None:
    """The square or absolute value of a difference from something without a gradient."""
    child = node.next_functions[0][0] if node.next_functions else None
    if child is None or (name == "Mul" and (len(node.next_functions) < 2 or node.next_functions[1][0] is not child)):
        return None
    exponent = read_attribute(node, "_saved_exponent")
    if name == "Pow" and (isinstance(exponent, Tensor) or exponent != 2):
        return None
    subtraction = skip_views(child)
    if operation_name(subtraction) not in ("Sub", "Rsub"):
        return None
    operands = [operand for operand, _ in subtraction.next_functions]
    with_gradient = [operand for operand in operands if operand is not None]
    difference = saved_tensor(node, "self")
    if len(with_gradient) != 1 or difference is None or difference.is_complex() or uses_parameter(subtraction):
        return None
    sign = -1.0 if (len(operands) > 1 and operands[0] is None) or operation_name(subtraction) == "Rsub" else 1.0
    kind = "absolute" if name == "Abs" else "squared"
    criterion = Criterion(kind, _trace_head_path(with_gradient[0]), difference=sign * difference)
    output = _find_output(with_gradient[0], outputs)
    if output is not None:
        criterion.prediction = output.reshape(difference.shape) if output.numel() == difference.numel() else output
        criterion.comparisons = max(1.0, difference.numel() / max(1, output.numel()))
        if output.numel() == difference.numel():
            criterion.target = criterion.prediction - sign * difference
    return criterion


def _match_soft_targets(node: Any) -> Criterion | None:
    """A cross entropy with probabilities as targets: log-softmax times something without a gradient."""
    children = [child for child, _ in node.next_functions]
    with_gradient = [child for child in children if child is not None]
    if operation_name(node) != "Mul" or len(with_gradient) != 1 or operation_name(skip_views(with_gradient[0])) != "LogSoftmax":
        return None
    target = saved_tensor(node, "other" if children[0] is not None else "self")
    log_softmax = skip_views(with_gradient[0])
    log_probabilities = saved_tensor(log_softmax, "result")
    logits = log_softmax.next_functions[0][0]
    if target is None or log_probabilities is None or target.shape != log_probabilities.shape or logits is None:
        return None
    return Criterion("cross-entropy", _trace_head_path(logits), log_probabilities, target)


def _match_policy_gradient(node: Any) -> Criterion | None:
    """The loss of a policy gradient: the logarithm of a selected probability, times a reward without a gradient."""
    children = [child for child, _ in node.next_functions]
    with_gradient = [child for child in children if child is not None]
    if operation_name(node) != "Mul" or len(with_gradient) != 1:
        return None
    reward = read_attribute(node, "_saved_other" if children[0] is not None else "_saved_self")
    if not isinstance(reward, Tensor | int | float):
        return None
    node = with_gradient[0]
    for _ in range(MAX_DEPTH):
        if operation_name(node) in SELECTIONS:
            target = torch.as_tensor(reward).detach()
            argument = saved_tensor(node, "self")
            has_targets = argument is not None and target.shape == argument.shape and _is_probability(target)
            if operation_name(node) == "Log" and has_targets:
                return Criterion("logarithm", _trace_head_path(node.next_functions[0][0]), argument, target)
            return Criterion("policy", HeadPath((), None), target=target)
        if operation_name(node) not in VIEWS | {"Neg"} or not node.next_functions or node.next_functions[0][0] is None:
            return None
        node = node.next_functions[0][0]
    return None


def _is_probability(target: Tensor) -> bool:
    """Whether all values lie between 0 and 1, as the targets of a handwritten likelihood do, and rewards seldom."""
    low, high = torch.aminmax(target.float()) if target.numel() else (torch.tensor(-1.0), torch.tensor(-1.0))
    return bool((low >= 0) & (high <= 1))


def _trace_head_path(node: Any) -> HeadPath:
    """The activations between a node and the weights; at an unknown operation the path ends without a weight."""
    activations: list[str] = []
    extent: tuple[int | None, bool] = (None, False)
    for _ in range(MAX_DEPTH):
        if node is None:
            break
        if node.name() == COMPILED:
            return HeadPath(tuple(reversed(activations)), None, *extent, compiled=node_key(node))
        weight = find_weight(node)
        if weight is not None:
            return HeadPath(tuple(reversed(activations)), weight, *extent)
        name = operation_name(node)
        if name in ACTIVATIONS:
            activations.append(ACTIVATIONS[name])
            extent = _softmax_extent(node) or extent
        elif name in SCALING:
            with_gradient = [child for child, _ in node.next_functions if child is not None]
            if len(with_gradient) > 1 and name != "Div":
                break
            if len(with_gradient) == 1:
                activations.append("scaled")
        elif name not in VIEWS and name not in CLAMPS:
            break
        node = next((child for child, _ in node.next_functions if child is not None), None)
    return HeadPath(tuple(reversed(activations)), None, *extent)


def _softmax_extent(node: Any) -> tuple[int, bool] | None:
    """The number of values that a softmax normalises, and whether these are the examples of the batch; None for other nodes."""
    result, dim = saved_tensor(node, "result"), read_attribute(node, "_saved_dim")
    if result is None or dim is None or not result.dim() or operation_name(node) not in ("Softmax", "LogSoftmax"):
        return None
    axis = _to_signed(dim) % result.dim()
    return result.shape[axis], axis == 0 and result.dim() > 1


def _find_output(node: Any, outputs: Mapping[NodeKey, Tensor]) -> Tensor | None:
    """The tensor that a node, or the node below its views, has computed; None where it was not kept."""
    for candidate in iterate_views(node):
        if (key := node_key(candidate)) in outputs:
            return outputs[key]
        if operation_name(candidate) in ACTIVATIONS and (result := saved_tensor(candidate, "result")) is not None:
            return result
    return None
