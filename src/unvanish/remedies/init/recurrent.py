"""Numbers for recurrent layers, written in place: torch's own scale of weights, and biases of the gates that remember. It knows no
network."""

from __future__ import annotations

import math

import torch
from torch import Tensor

FORGET_BIAS = 1.0
"""Jozefowicz 2015: the gate starts at sigmoid(1) = .73 instead of one half."""

SPREAD = (1.0, 6.0)
"""Biases from that of Jozefowicz to one with which a state lasts some 1 + e^6 = 400 steps, about the longest that is learned."""


def recurrent_(weight: Tensor, *, hidden: int, generator: torch.Generator) -> Tensor:
    """The same tensor, filled from U(-1/sqrt(hidden), 1/sqrt(hidden)), as torch fills the weights and biases of such layers."""
    bound = 1.0 / math.sqrt(hidden)
    return weight.uniform_(-bound, bound, generator=generator)


def forgetting(bias: Tensor, *, hidden: int) -> Tensor:
    """The part of a bias that belongs to the gate on the old state, as a view.

    That is torch's second block, in an LSTM (input, forget, cell, output) and in a GRU (reset, update, new) alike: the update
    gate multiplies the old state, where the papers have it multiply the new one.
    """
    return bias[hidden : 2 * hidden]


def remembering_(bias: Tensor, *, hidden: int, total: float = FORGET_BIAS) -> Tensor:
    """The same bias, with `total` for the gate on the old state. Torch adds up two biases: give the other one zero."""
    forgetting(bias, hidden=hidden).fill_(total)
    return bias


def chrono_(bias: Tensor, *, hidden: int, steps: int, inputs: bool, generator: torch.Generator) -> Tensor:
    """The same bias, with b = ln U(1, steps - 1) for the gate on the old state, and -b for the input gate where `inputs` says so.

    A gate of bias b keeps its state for some 1 + e^b steps, so the units' memories spread over all the lengths that occur
    (Tallec 2018, arXiv 1804.11188). A GRU has no input gate: what its update gate does not keep, it takes from the new.
    """
    old = forgetting(bias, hidden=hidden).uniform_(1.0, steps - 1.0, generator=generator).log_()
    if inputs:
        torch.neg(old, out=bias[:hidden])
    return bias


def spread_(bias: Tensor, *, hidden: int, inputs: bool) -> Tensor:
    """The same bias, for sequences of unknown length: b from 1 to 6 for the gate on the old state, -b/2 for the input gate.

    The units' memories are spread evenly over the orders of magnitude from 4 to 400 steps. A sum of n unrelated inputs grows as
    sqrt(n), which the input gate makes up for: chrono's -b keeps an average instead, in which one event among n is lost.
    """
    old = forgetting(bias, hidden=hidden)
    old.copy_(torch.linspace(*SPREAD, hidden))
    if inputs:
        torch.mul(old, -0.5, out=bias[:hidden])
    return bias
