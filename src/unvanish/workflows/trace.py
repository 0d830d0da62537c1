"""`unvanish.trace`: where the gradient of a network goes between its output and its input, or one parameter."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, final

from unvanish.record.gradient_flow import GradientFlow

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from torch import nn


@final
@dataclass(frozen=True, slots=True)
class TracedFlow(GradientFlow):
    """A gradient flow that can be drawn, for a notebook."""

    @classmethod
    def of(cls, flow: GradientFlow) -> TracedFlow:
        """The same flow with `plot`."""
        return cls(**{field.name: getattr(flow, field.name) for field in fields(flow)})

    def plot(self) -> go.Figure:
        """The waterfall of decades as an interactive plotly figure."""
        from unvanish.report.figures.flow.flow_gallery import build_flow_figure

        return build_flow_figure(self)


def trace(model: nn.Module, inputs: Any, loss: Any, *, to: str | None = None) -> TracedFlow:
    """Where the gradient goes between the output and the input, or the parameter named by `to`, operation by operation.

    Arguments:
        model: the network; it is left bit for bit as it was.
        inputs: one example batch: a tensor (batch, ...), a tuple of positional or a dict of keyword arguments.
        loss: takes the outputs and returns one number, or is a tensor of targets: class indices (batch,) for a cross entropy, else
            amounts of the output's shape for a mean squared error.
        to: the parameter at which the trace ends, such as "net.0.weight"; by default it ends at the input.

    On the result, `flow.total` is log10 of the gradient's RMS at the input over that at the output. `flow.shares(by)`, by "op",
    "module", "kind" or "block", adds up to it exactly; `flow.table()` is text, `flow.plot()` a figure. Cost: about one training
    step, and linear in the number of operations.

    Raises UsageError for what cannot be used, TraceError where no finite gradient arrives.

    Example:
        >>> import torch, unvanish
        >>> _ = torch.manual_seed(0)
        >>> layers = [m for _ in range(8) for m in (torch.nn.Linear(16, 16), torch.nn.Sigmoid())]
        >>> flow = unvanish.trace(torch.nn.Sequential(*layers), torch.randn(32, 16), lambda outputs: outputs.square().mean())
        >>> flow.total < -3  # a thousandth of the gradient arrives, at most
        True
        >>> abs(sum(flow.shares("kind").values()) - flow.total) < 1e-6
        True
    """
    from unvanish.tracing import trace as trace_gradient

    return TracedFlow.of(trace_gradient(model, inputs, loss, to=to))
