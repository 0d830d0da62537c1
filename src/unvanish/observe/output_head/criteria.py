"""What judges a network's output, read off the autograd graph between the loss and the last weights. It runs no operation.

The graph knows the criterion however it is spelt: a module, a function, or made by hand. Only its last part is walked, from the
loss back to the first operations that hold parameters. What a hook of the script packed away, as checkpoints do, stays packed: to
unpack it would run the script's own code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MOST_NODES = 2000  # of a loss; one that sums over more than that is left alone
DEEPEST = 64  # operations between the criterion and the weights

# Operations that only rearrange values.
VIEWS = frozenset(
    [
        "View",
        "UnsafeView",
        "ReshapeAlias",
        "Reshape",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "T",
        "Permute",
        "Select",
        "Slice",
        "Clone",
        "ToCopy",
        "Expand",
        "Alias",
        "Unbind",
        "Index",
        "Flatten",
        "Contiguous",
        "Split",
        "UnsafeSplit",
        "Chunk",
    ]
)
BENDS: Mapping[str, str] = {
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
OWN_CRITERIA: Mapping[str, str] = {
    "NllLoss": "likelihood",
    "NllLoss2D": "likelihood",
    "BinaryCrossEntropy": "binary-cross-entropy",
    "BinaryCrossEntropyWithLogits": "binary-cross-entropy-with-logits",
    "MseLoss": "squared",
    "SmoothL1Loss": "absolute",
    "HuberLoss": "absolute",
}
CHOOSING = frozenset({"Gather", "Log"})  # how a policy's chosen probability comes about
SQUARES = frozenset({"Pow", "Square", "Abs", "Mul"})
# The values that the last operation can put out. What is scaled or shifted afterwards has no known bounds.
BOUNDS: Mapping[str, tuple[float, float]] = {
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


NodeKey = tuple[str, int]


@dataclass(frozen=True, slots=True)
class HeadPath:
    """From a criterion down to the weights: the bends met, from the weights on; over how many values the last softmax among
    them ran, and whether these are the examples."""

    squash: tuple[str, ...]
    weight: Tensor | None
    softmax_extent: int | None = None
    over_examples: bool = False


@dataclass(slots=True)
class Criterion:
    """One criterion of a loss. `prediction` is what it was given and `target` what that is compared with, both detached; either
    may be missing. `difference` is prediction minus target where only that is known, `comparisons` how often each value that
    the network put out is compared: more than once where shapes were broadcast."""

    kind: str
    way: HeadPath
    prediction: Tensor | None = None
    target: Tensor | None = None
    difference: Tensor | None = None
    comparisons: float = 1.0

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and greatest value that the network's last operation can put out."""
        return BOUNDS.get(self.way.squash[-1]) if self.way.squash else None


def criteria(loss: Tensor, outputs: Mapping[NodeKey, Tensor]) -> list[Criterion]:
    """The criteria of a loss, in the order of the graph. `outputs` are tensors that networks put out, by `key_of` their `grad_fn`.

    Raises nothing for a graph that it does not understand: then there are none.
    """
    found: list[Criterion] = []
    waiting, seen = [loss.grad_fn], set[Any]()
    while waiting and len(seen) < MOST_NODES:
        node = waiting.pop()
        if node is None or node in seen or holds_weights(node):
            continue
        seen.add(node)
        criterion = _criterion(node, outputs)
        if criterion is not None:
            found.append(criterion)
        else:
            waiting.extend(child for child, _ in reversed(node.next_functions))
    return found if len(seen) < MOST_NODES else []


def key_of(node: Any) -> NodeKey:
    """What tells a node from all others that its thread has made, and keeps no graph alive."""
    return node.name(), node._sequence_nr()


def holds_weights(node: Any) -> bool:
    """Whether an operation uses a parameter directly, or by way of a transposition."""
    return weight_of(node) is not None


def weight_of(node: Any) -> Tensor | None:
    """The first parameter that an operation uses, a matrix where it has one; None where it uses none."""
    own: list[Tensor] = []
    for child, _ in node.next_functions:
        while child is not None and operation(child) in VIEWS and child.next_functions:
            child = child.next_functions[0][0]
        if child is not None and child.name().endswith("AccumulateGrad"):
            own.append(child.variable)
    return max(own, key=lambda each: each.dim(), default=None)


def operation(node: Any) -> str:
    """The name of a node without what autograd adds to it: "MseLossBackward0" is "MseLoss"."""
    return re.sub(r"Backward\d*$", "", node.name())


def _criterion(node: Any, outputs: Mapping[NodeKey, Tensor]) -> Criterion | None:
    """The criterion that a node is, if it is one."""
    name = operation(node)
    child = node.next_functions[0][0] if node.next_functions else None
    if name in OWN_CRITERIA and child is not None:
        return _own(node, OWN_CRITERIA[name], child)
    if name in SQUARES:
        return _by_hand(node, name, outputs) or _soft_targets(node) or _policy(node)
    if name == "Log" and child is not None:
        return Criterion("logarithm", _way(child), _saved(node, "self"))
    return None


def _own(node: Any, kind: str, child: Any) -> Criterion:
    """A criterion of torch's own, which keeps what it compared."""
    prediction, target = _saved(node, "self"), _saved(node, "target")
    if len(node.next_functions) > 1 and node.next_functions[1][0] is not None:
        target = None  # what it is compared with learns as well, and is no target
        kind = "pair"
    if kind == "likelihood":
        target = _without_ignored(target, _attribute(node, "_saved_ignore_index"))
        beneath = _through_views(child)
        if operation(beneath) == "LogSoftmax":
            below = beneath.next_functions[0][0]
            way = _way(below) if below is not None else HeadPath((), None)
            own = _softmax_over(beneath)
            if own is not None and (own[0] == 1 or own[1]):  # no part of an ordinary cross entropy
                way = HeadPath((*way.squash, "log_softmax"), way.weight, *own)
            return Criterion("cross-entropy", way, prediction, target)
    return Criterion(kind, _way(child), prediction, target, comparisons=_comparisons(child))


def _without_ignored(target: Tensor | None, ignored: int | None) -> Tensor | None:
    """The classes, with -1 for what the loss was told to ignore, such as the padding of a sentence."""
    return target if target is None or ignored is None else target.masked_fill(target == _signed(ignored), -1)


def _signed(number: int) -> int:
    """Autograd hands a negative number back as an unsigned one."""
    return number if number < 2**62 else number - 2**64


def _comparisons(child: Any) -> float:
    """How many values a broadcast made of each that it was given; 1 where there was none."""
    before = _attribute(child, "_saved_self_sym_sizes")
    after = child._input_metadata[0].shape if operation(child) == "Expand" else None
    return math.prod(after) / max(1, math.prod(before)) if after is not None and before is not None else 1.0


def _by_hand(node: Any, name: str, outputs: Mapping[NodeKey, Tensor]) -> Criterion | None:
    """The square or size of a difference from something that carries no gradient."""
    child = node.next_functions[0][0] if node.next_functions else None
    if child is None or (name == "Mul" and (len(node.next_functions) < 2 or node.next_functions[1][0] is not child)):
        return None
    exponent = _attribute(node, "_saved_exponent")
    if name == "Pow" and (isinstance(exponent, Tensor) or exponent != 2):
        return None
    beneath = _through_views(child)
    if operation(beneath) not in ("Sub", "Rsub"):
        return None
    sides = [side for side, _ in beneath.next_functions]
    learning = [side for side in sides if side is not None]
    difference = _saved(node, "self")
    if len(learning) != 1 or difference is None or difference.is_complex() or holds_weights(beneath):
        return None
    sign = -1.0 if (len(sides) > 1 and sides[0] is None) or operation(beneath) == "Rsub" else 1.0
    kind = "absolute" if name == "Abs" else "squared"
    criterion = Criterion(kind, _way(learning[0]), difference=sign * difference)
    made = _made_by(learning[0], outputs)
    if made is not None:
        criterion.prediction = made.reshape(difference.shape) if made.numel() == difference.numel() else made
        criterion.comparisons = max(1.0, difference.numel() / max(1, made.numel()))
        if made.numel() == difference.numel():
            criterion.target = criterion.prediction - sign * difference
    return criterion


def _soft_targets(node: Any) -> Criterion | None:
    """A cross entropy with probabilities as targets: log-softmax times something that carries no gradient."""
    children = [child for child, _ in node.next_functions]
    learning = [child for child in children if child is not None]
    if operation(node) != "Mul" or len(learning) != 1 or operation(_through_views(learning[0])) != "LogSoftmax":
        return None
    target = _saved(node, "other" if children[0] is not None else "self")
    soft = _through_views(learning[0])
    logarithms = _saved(soft, "result")
    if target is None or logarithms is None or target.shape != logarithms.shape or soft.next_functions[0][0] is None:
        return None
    return Criterion("cross-entropy", _way(soft.next_functions[0][0]), logarithms, target)


def _policy(node: Any) -> Criterion | None:
    """What a policy gradient does: the logarithm of a chosen probability, times how good the choice was."""
    children = [child for child, _ in node.next_functions]
    learning = [child for child in children if child is not None]
    if operation(node) != "Mul" or len(learning) != 1:
        return None
    reward = _attribute(node, "_saved_other" if children[0] is not None else "_saved_self")
    if not isinstance(reward, Tensor | int | float):
        return None
    beneath = learning[0]
    for _ in range(DEEPEST):
        if operation(beneath) in CHOOSING:
            target = torch.as_tensor(reward).detach()
            argument = _saved(beneath, "self")
            if operation(beneath) == "Log" and argument is not None and target.shape == argument.shape and _shares(target):
                return Criterion("logarithm", _way(beneath.next_functions[0][0]), argument, target)
            return Criterion("policy", HeadPath((), None), target=target)
        if operation(beneath) not in VIEWS | {"Neg"} or not beneath.next_functions or beneath.next_functions[0][0] is None:
            return None
        beneath = beneath.next_functions[0][0]
    return None


def _shares(target: Tensor) -> bool:
    """Whether all values lie between 0 and 1, as the targets of a likelihood made by hand do and rewards seldom."""
    low, high = torch.aminmax(target.float()) if target.numel() else (torch.tensor(-1.0), torch.tensor(-1.0))
    return bool((low >= 0) & (high <= 1))


def _way(node: Any) -> HeadPath:
    """The bends between a node and the weights. What is not understood ends the way without them."""
    bends: list[str] = []
    over: tuple[int | None, bool] = (None, False)
    for _ in range(DEEPEST):
        if node is None:
            break
        weight = weight_of(node)
        if weight is not None:
            return HeadPath(tuple(reversed(bends)), weight, *over)
        name = operation(node)
        if name in BENDS:
            bends.append(BENDS[name])
            over = _softmax_over(node) or over
        elif name in SCALING:
            learning = [child for child, _ in node.next_functions if child is not None]
            if len(learning) > 1 and name != "Div":
                break
            if len(learning) == 1:
                bends.append("scaled")
        elif name not in VIEWS and name not in CLAMPS:
            break
        node = next((child for child, _ in node.next_functions if child is not None), None)
    return HeadPath(tuple(reversed(bends)), None, *over)


def _softmax_over(node: Any) -> tuple[int, bool] | None:
    """Over how many values a softmax ran, and whether these are the examples of the batch."""
    result, dim = _saved(node, "result"), _attribute(node, "_saved_dim")
    if result is None or dim is None or not result.dim() or operation(node) not in ("Softmax", "LogSoftmax"):
        return None
    place = _signed(dim) % result.dim()
    return result.shape[place], place == 0 and result.dim() > 1


def _through_views(node: Any) -> Any:
    while operation(node) in VIEWS and node.next_functions and node.next_functions[0][0] is not None:
        node = node.next_functions[0][0]
    return node


def _made_by(node: Any, outputs: Mapping[NodeKey, Tensor]) -> Tensor | None:
    """The output that a node, or one that it only rearranges, has made."""
    for each in _views_below(node):
        if (key := key_of(each)) in outputs:
            return outputs[key]
        if operation(each) in BENDS and (result := _saved(each, "result")) is not None:
            return result
    return None


def _views_below(node: Any) -> Iterator[Any]:
    yield node
    while operation(node) in VIEWS and node.next_functions and node.next_functions[0][0] is not None:
        node = node.next_functions[0][0]
        yield node


def _saved(node: Any, name: str) -> Tensor | None:
    if getattr(_attribute(node, f"_raw_saved_{name}"), "unpack_hook", None) is not None:
        return None
    value = _attribute(node, f"_saved_{name}")
    return value.detach() if isinstance(value, Tensor) else None


def _attribute(node: Any, name: str) -> Any:
    """What a node keeps; None where it keeps no such thing, or the script has written over it since."""
    read: Callable[[], Any] = lambda: getattr(node, name, None)  # noqa: E731
    try:
        with torch.no_grad():
            return read()
    except RuntimeError:
        return None
