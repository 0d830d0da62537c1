"""How a parameter is drawn or set anew, as data: the law of its values, and their scale."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Law(StrEnum):
    """The distribution of a parameter's new values, or the values themselves.

    `scale` and `blocks` of InitialValues mean: NORMAL, standard deviation; UNIFORM, largest absolute value; ORTHOGONAL, the factor
    on a random semi-orthogonal matrix, one for each block of rows; DELTA_ORTHOGONAL, the same at the centre of a kernel that is
    zero elsewhere; GLOROT, uniform with the fans of each block of rows; FORGET_GATE, the bias of a recurrent layer's gate on the
    old state; CHRONO, that bias drawn for sequences of `scale` steps, and that of the input gate its negative; SPREAD_MEMORY, that
    bias spread over 1 to 6, and that of the input gate minus half of it. The blocks of a bias are its gates.
    """

    ZEROS = "zeros"
    IDENTITY = "identity"
    NORMAL = "normal"
    UNIFORM = "uniform"
    ORTHOGONAL = "orthogonal"
    DELTA_ORTHOGONAL = "delta-orthogonal"
    GLOROT = "glorot"
    FORGET_GATE = "forget-gate"
    CHRONO = "chrono"
    SPREAD_MEMORY = "spread-memory"
    ZERO_FORGET_GATE = "zero-forget-gate"
    ZERO_INPUT_AND_FORGET_GATES = "zero-input-and-forget-gates"


@dataclass(frozen=True, slots=True)
class InitialValues:
    """The new values of one parameter.

    Arguments:
        parameter: dotted path of the parameter in the network.
        shape: shape of the parameter.
        law: how its values come about.
        scale: the number that the law needs.
        blocks: into how many blocks of rows the law divides the parameter.

    Example:
        >>> InitialValues("fc.weight", (16, 8), Law.NORMAL, scale=0.5).parameter
        'fc.weight'
    """

    parameter: str
    shape: tuple[int, ...]
    law: Law
    scale: float = 0.0
    blocks: int = 1
