"""One exact look at a network: where its gradient goes between the loss and the input, operation by operation, and how its Jacobian
stretches. One forward and one backward pass; nothing here trains, and the network is left as it was."""

from __future__ import annotations

from unvanish.tracing.jacobian.spectra import spectra, with_orthogonality
from unvanish.tracing.retrace import NotRetraceable, retrace_step
from unvanish.tracing.tracer import trace

__all__ = ["NotRetraceable", "retrace_step", "spectra", "trace", "with_orthogonality"]
