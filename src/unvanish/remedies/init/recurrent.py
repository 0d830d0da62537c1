"""Initialises parameters of recurrent layers in place: weights at torch's own scale, and biases of the forget and input gates.

Biases have torch's layout: blocks of `hidden` numbers, (input, forget, cell, output) in an LSTM, (reset, update, new) in a GRU.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

FORGET_BIAS = 1.0
"""The forget gate starts at sigmoid(1) = .73 instead of one half (Jozefowicz 2015)."""

FORGET_BIAS_RANGE = (1.0, 6.0)
"""From the bias of Jozefowicz to one with which a state lasts some 1 + e^6 = 400 steps, about the longest that is learned."""


def recurrent_uniform_(weight: Tensor, *, hidden: int, generator: torch.Generator) -> Tensor:
    """Fills a weight or bias in place from U(-1/sqrt(hidden), 1/sqrt(hidden)), as torch does, and returns it."""
    bound = 1.0 / math.sqrt(hidden)
    return weight.uniform_(-bound, bound, generator=generator)


def forget_gate_bias(bias: Tensor, *, hidden: int) -> Tensor:
    """The part of a bias that belongs to the gate on the old state, as a view of shape (hidden,).

    That is the second block in an LSTM (forget gate) and in a GRU (update gate) alike: torch's update gate multiplies the old
    state, where the papers have it multiply the new one.
    """
    return bias[hidden : 2 * hidden]


def forget_bias_(bias: Tensor, *, hidden: int, total: float = FORGET_BIAS) -> Tensor:
    """Sets the bias of the gate on the old state to `total` in place, and returns the bias.

    Torch adds two biases: set the other one to zero.

    Example:
        >>> import torch
        >>> forget_bias_(torch.zeros(8), hidden=2)
        tensor([0., 0., 1., 1., 0., 0., 0., 0.])
    """
    forget_gate_bias(bias, hidden=hidden).fill_(total)
    return bias


def chrono_(bias: Tensor, *, hidden: int, steps: int, has_input_gate: bool, generator: torch.Generator) -> Tensor:
    """Sets b = ln U(1, steps - 1) for the gate on the old state in place, and -b for the input gate; returns the bias.

    A gate of bias b keeps its state for some 1 + e^b steps, so the units' time scales spread over all lengths that occur
    (Tallec 2018, arXiv 1804.11188). A GRU has no input gate: one minus its update gate weighs the new state.

    Arguments:
        bias: shape (gates * hidden,).
        hidden: number of hidden units.
        steps: length of the sequences, at least 3.
        has_input_gate: whether the first block belongs to an input gate, as in an LSTM.
        generator: where the random numbers come from.
    """
    forget_part = forget_gate_bias(bias, hidden=hidden).uniform_(1.0, steps - 1.0, generator=generator).log_()
    if has_input_gate:
        torch.neg(forget_part, out=bias[:hidden])
    return bias


def spread_memory_(bias: Tensor, *, hidden: int, has_input_gate: bool) -> Tensor:
    """Sets b from 1 to 6 for the gate on the old state in place, and -b/2 for the input gate; returns the bias.

    It is for sequences of unknown length: the units' time scales are spread evenly over the orders of magnitude from 4 to 400
    steps. A sum of n independent inputs grows as sqrt(n), for which the input gate compensates; chrono's -b would keep an average
    instead, in which one event among n is lost.

    Arguments:
        bias: shape (gates * hidden,).
        hidden: number of hidden units.
        has_input_gate: whether the first block belongs to an input gate, as in an LSTM.
    """
    forget_part = forget_gate_bias(bias, hidden=hidden)
    forget_part.copy_(torch.linspace(*FORGET_BIAS_RANGE, hidden))
    if has_input_gate:
        torch.mul(forget_part, -0.5, out=bias[:hidden])
    return bias
