"""The autograd graph behind a loss, as plain lists: nodes in the order in which gradients pass them, and the edges between them.

A tensor is named by the node that made it and that node's output number; a leaf by its accumulating node and 0. Nothing here runs a
node.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any

Node = Any  # torch.autograd.graph.Node; built-in ones and those of custom functions share no useful type
Port = tuple[int, int]  # node, output number

LEAF = "torch::autograd::AccumulateGrad"


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes, consumers before producers, so the loss is first. `inputs[i]`: the ports to which node i sends gradients (or None)."""

    nodes: list[Node]
    inputs: list[tuple[Port | None, ...]]
    leaves: list[bool]
    index: dict[Node, int] = field(repr=False)

    def consumers(self) -> dict[Port, list[tuple[int, int]]]:
        """For every tensor, the nodes that use it, with the place among their inputs."""
        found: dict[Port, list[tuple[int, int]]] = {}
        for consumer, ports in enumerate(self.inputs):
            for slot, port in enumerate(ports):
                if port is not None:
                    found.setdefault(port, []).append((consumer, slot))
        return found

    def port(self, node: Node, number: int) -> Port | None:
        """The tensor that `node` made as its output `number`; None where the loss does not depend on that node."""
        place = self.index.get(node)
        return None if place is None else (place, number)


def is_leaf(node: Node) -> bool:
    """Whether a node collects the gradient of a leaf tensor, such as a parameter."""
    return not node.next_functions and node.name() == LEAF


def graph_behind(root: Node) -> Graph:
    """Everything that `root` depends on. Cost: a few microseconds a node.

    Nodes leave the heap by descending sequence number, as in torch's own engine, which keeps few gradients alive at a time; leaves
    come as soon as they can.
    """
    waiting = _uses(root)
    heap: list[tuple[int, int, Node]] = [(0, 0, root)]
    nodes: list[Node] = []
    leaves: list[bool] = []
    index: dict[Node, int] = {}
    pushed = 0
    while heap:
        _, _, node = heapq.heappop(heap)
        index[node] = len(nodes)
        nodes.append(node)
        leaves.append(is_leaf(node))
        for follower, _ in node.next_functions:
            if follower is None:
                continue
            waiting[follower] -= 1
            if not waiting[follower]:
                pushed += 1
                order = -(1 << 64) if is_leaf(follower) else -follower._sequence_nr()
                heapq.heappush(heap, (order, pushed, follower))
    inputs: list[tuple[Port | None, ...]] = [
        tuple(None if follower is None else (index[follower], number) for follower, number in node.next_functions) for node in nodes
    ]
    return Graph(nodes, inputs, leaves, index)


def _uses(root: Node) -> dict[Node, int]:
    """How many edges lead to every node behind `root`."""
    uses: dict[Node, int] = {root: 0}
    stack = [root]
    while stack:
        for follower, _ in stack.pop().next_functions:
            if follower is None:
                continue
            if follower in uses:
                uses[follower] += 1
            else:
                uses[follower] = 1
                stack.append(follower)
    return uses
