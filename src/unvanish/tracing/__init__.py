"""Traces a network's gradient operation by operation between the loss and the input, and measures the spectra of its Jacobians."""

from __future__ import annotations

from unvanish.tracing.jacobian.spectra import spectra, with_orthogonality
from unvanish.tracing.retraced_step import NotRetraceable, retrace_step
from unvanish.tracing.tracer import trace

__all__ = ["NotRetraceable", "retrace_step", "spectra", "trace", "with_orthogonality"]
