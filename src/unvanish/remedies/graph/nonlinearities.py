"""Finds the formula in `theory.nonlinearity` for an activation module or call."""

from __future__ import annotations

from torch import nn

from unvanish.remedies.graph.forward_graph import GraphStep
from unvanish.remedies.graph.signal_kinds import op_name
from unvanish.theory.nonlinearity import Nonlinearity, elu, find_nonlinearity, leaky_relu


def nonlinearity_of(step: GraphStep) -> Nonlinearity | None:
    """The formula of an activation step, with the module's own settings; None where there is none.

    A call in a `forward` is taken with torch's default settings, since the graph does not keep its arguments. A PReLU counts as
    the leaky ReLU of its mean slope. GELU's tanh form counts as GELU, from which it differs by less than 5e-4.
    """
    module = step.module
    if module is None:
        return find_nonlinearity(step.op)
    match module:
        case nn.LeakyReLU():
            return leaky_relu(slope=module.negative_slope)
        case nn.RReLU():
            return leaky_relu(slope=(module.lower + module.upper) / 2.0)
        case nn.PReLU():
            return leaky_relu(slope=float(module.weight.detach().mean()))
        case nn.ELU():
            return elu(alpha=module.alpha)
        case nn.CELU():
            return elu() if module.alpha == 1.0 else None
        case nn.ReLU6():
            return find_nonlinearity("relu6")
        case nn.Hardtanh():
            return find_nonlinearity("hardtanh") if (module.min_val, module.max_val) == (-1.0, 1.0) else None
        case nn.Threshold():
            return find_nonlinearity("relu") if (module.threshold, module.value) == (0.0, 0.0) else None
        case nn.Softplus():
            return find_nonlinearity("softplus") if module.beta == 1.0 else None
        case _:
            return find_nonlinearity(op_name(type(module).__name__))
