"""Which activation of the theory's catalogue a module or a call is. It reads names and settings, and computes nothing."""

from __future__ import annotations

from torch import nn

from unvanish.remedies.graph.forward_graph import GraphStep
from unvanish.remedies.graph.kinds import op_name
from unvanish.theory.nonlinearity import Nonlinearity, elu, find, leaky_relu


def nonlinearity_of(step: GraphStep) -> Nonlinearity | None:
    """The catalogue's entry for an activation step, with the module's own settings; None where there is no formula.

    A call in a `forward` is taken with torch's default settings, since the layout does not keep its arguments. A PReLU is the
    leaky ReLU of its mean slope. GELU's tanh form counts as GELU, from which it differs by less than 5e-4.
    """
    module = step.module
    if module is None:
        return find(step.op)
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
            return find("relu6")
        case nn.Hardtanh():
            return find("hardtanh") if (module.min_val, module.max_val) == (-1.0, 1.0) else None
        case nn.Threshold():
            return find("relu") if (module.threshold, module.value) == (0.0, 0.0) else None
        case nn.Softplus():
            return find("softplus") if module.beta == 1.0 else None
        case _:
            return find(op_name(type(module).__name__))
