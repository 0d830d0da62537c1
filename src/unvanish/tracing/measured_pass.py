"""A recorded forward pass of a network together with the measured sizes of its backward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from unvanish.tracing.autograd_graph import AutogradGraph, Edge, Port
from unvanish.tracing.backward_pass import BackwardSizes
from unvanish.tracing.forward_recorder import ForwardRecorder
from unvanish.tracing.recurrence import Recurrence


@dataclass(frozen=True, slots=True)
class MeasuredPass:
    """A recorded forward pass and the sizes of its backward pass.

    `targets` are the tensors at which the flow ends. `in_loss[i]` says whether node i belongs to the loss, `loss_edges` lead from
    the loss into the network. `leaves` maps the id of a leaf tensor to its node. `carried` has, for each recurrence, the sizes of
    what the gradient that enters it at its last step becomes.
    """

    network: nn.Module
    recorder: ForwardRecorder
    graph: AutogradGraph
    consumers: Mapping[Port, Sequence[Edge]]
    producers: Mapping[Edge, Port]
    backward: BackwardSizes
    targets: Sequence[Port]
    in_loss: Sequence[bool]
    loss_edges: frozenset[Edge]
    leaves: Mapping[int, int]
    recurrences: Sequence[Recurrence]
    carried: Sequence[BackwardSizes]
