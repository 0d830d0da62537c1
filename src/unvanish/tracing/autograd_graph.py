"""Lists the autograd graph behind a loss: nodes in the order in which gradients pass them, and the edges between them.

A tensor is identified by the node that made it and that node's output number, a leaf by its accumulating node and 0. No node is
run.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any

Node = Any  # torch.autograd.graph.Node; built-in ones and those of custom functions share no useful type
NodeOutput = tuple[Node, int]  # a tensor: the node that made it, output number
Port = tuple[int, int]  # the same within an AutogradGraph: index of the node, output number
Edge = tuple[int, int]  # index of the consuming node, position among its inputs

LEAF = "torch::autograd::AccumulateGrad"


@dataclass(frozen=True, slots=True)
class AutogradGraph:
    """Nodes with consumers before producers, so that the loss is first.

    `inputs[i]` are the ports to which node i sends gradients, None where an argument takes none. `is_leaf[i]` says whether node i
    collects the gradient of a leaf tensor. `index` maps nodes to their index.
    """

    nodes: list[Node]
    inputs: list[tuple[Port | None, ...]]
    is_leaf: list[bool]
    index: dict[Node, int] = field(repr=False)

    def consumers(self) -> dict[Port, list[Edge]]:
        """The edges into the nodes that use each tensor."""
        edges: dict[Port, list[Edge]] = {}
        for consumer, ports in enumerate(self.inputs):
            for slot, port in enumerate(ports):
                if port is not None:
                    edges.setdefault(port, []).append((consumer, slot))
        return edges

    def port(self, node: Node, number: int) -> Port | None:
        """The output `number` of `node`; None where the loss does not depend on that node."""
        index = self.index.get(node)
        return None if index is None else (index, number)


def is_leaf_node(node: Node) -> bool:
    """Whether a node collects the gradient of a leaf tensor, such as a parameter."""
    return not node.next_functions and node.name() == LEAF


def build_graph(root: Node) -> AutogradGraph:
    """The graph of everything that `root` depends on. Cost: a few microseconds a node.

    Nodes leave the heap by descending sequence number, as in torch's own engine, which keeps few gradients alive at a time; leaves
    come as soon as they can.

    Example:
        >>> import torch
        >>> weight = torch.ones(3, requires_grad=True)
        >>> graph = build_graph((2.0 * weight).sum().grad_fn)
        >>> [node.name().rpartition("::")[2] for node in graph.nodes]
        ['SumBackward0', 'MulBackward0', 'AccumulateGrad']
        >>> graph.is_leaf
        [False, False, True]
        >>> graph.consumers()[2, 0]  # the weight is input 0 of node 1
        [(1, 0)]
    """
    unvisited_uses = _count_uses(root)
    heap: list[tuple[int, int, Node]] = [(0, 0, root)]
    nodes: list[Node] = []
    is_leaf: list[bool] = []
    index: dict[Node, int] = {}
    pushed = 0
    while heap:
        _, _, node = heapq.heappop(heap)
        index[node] = len(nodes)
        nodes.append(node)
        is_leaf.append(is_leaf_node(node))
        for source, _ in node.next_functions:
            if source is None:
                continue
            unvisited_uses[source] -= 1
            if not unvisited_uses[source]:
                pushed += 1
                order = -(1 << 64) if is_leaf_node(source) else -source._sequence_nr()
                heapq.heappush(heap, (order, pushed, source))
    inputs: list[tuple[Port | None, ...]] = [
        tuple(None if source is None else (index[source], number) for source, number in node.next_functions) for node in nodes
    ]
    return AutogradGraph(nodes, inputs, is_leaf, index)


def _count_uses(root: Node) -> dict[Node, int]:
    """How many edges lead to every node behind `root`."""
    uses: dict[Node, int] = {root: 0}
    stack = [root]
    while stack:
        for source, _ in stack.pop().next_functions:
            if source is None:
                continue
            if source in uses:
                uses[source] += 1
            else:
                uses[source] = 1
                stack.append(source)
    return uses
