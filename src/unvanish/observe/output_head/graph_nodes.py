"""Reads single nodes of an autograd graph: what they compute, which parameter they use, and what they have saved.

Saved tensors that a hook of the script has packed, as checkpoints do, stay packed: to unpack them would run the script's own code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

NodeKey = tuple[str, int]
Edge = tuple[NodeKey, int]
"""A node, and the number of one of its outputs."""

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


def node_key(node: Any) -> NodeKey:
    """Identifies a node among all that its thread has made, without keeping its graph alive."""
    return node.name(), node._sequence_nr()


def uses_parameter(node: Any) -> bool:
    """Whether an operation uses a parameter, directly or through views such as a transposition."""
    return find_weight(node) is not None


def find_weight(node: Any) -> Tensor | None:
    """The parameter that an operation uses, that of most dimensions where there are several; None where it uses none."""
    parameters: list[Tensor] = []
    for child, _ in node.next_functions:
        while child is not None and operation_name(child) in VIEWS and child.next_functions:
            child = child.next_functions[0][0]
        if child is not None and child.name().endswith("AccumulateGrad"):
            parameters.append(child.variable)
    return max(parameters, key=lambda parameter: parameter.dim(), default=None)


def operation_name(node: Any) -> str:
    """The name of a node without what autograd adds to it: "MseLossBackward0" is "MseLoss"."""
    return re.sub(r"Backward\d*$", "", node.name())


def skip_views(node: Any) -> Any:
    """The node below a chain of views."""
    while operation_name(node) in VIEWS and node.next_functions and node.next_functions[0][0] is not None:
        node = node.next_functions[0][0]
    return node


def iterate_views(node: Any) -> Iterator[Any]:
    """A node, and the nodes below as long as the one above is a view."""
    yield node
    while operation_name(node) in VIEWS and node.next_functions and node.next_functions[0][0] is not None:
        node = node.next_functions[0][0]
        yield node


def saved_tensor(node: Any, name: str) -> Tensor | None:
    """A tensor that a node has saved, detached; None where it has none of that name, or a hook has packed it."""
    if getattr(read_attribute(node, f"_raw_saved_{name}"), "unpack_hook", None) is not None:
        return None
    value = read_attribute(node, f"_saved_{name}")
    return value.detach() if isinstance(value, Tensor) else None


def read_attribute(node: Any, name: str) -> Any:
    """An attribute of a node; None where it has none, or where the script has overwritten the saved tensor."""
    read: Callable[[], Any] = lambda: getattr(node, name, None)  # noqa: E731
    try:
        with torch.no_grad():
            return read()
    except RuntimeError:
        return None
