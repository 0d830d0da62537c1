"""The adding problem: sequences of numbers, two of them marked, whose sum is asked for at the end. Made up as it goes, from a seed.

The first marked number is in the first half, the second in the other half (Hochreiter and Schmidhuber 1997), so that who
remembers nothing does no better than to answer 1 every time, which leaves the variance of the target, 1/6.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

VARIANCE = 1 / 6  # of the sum of two numbers, each evenly distributed from 0 to 1
IN_WORDS = "the adding problem, drawn anew for every step; 1,000 sequences to test, the same in every training"
TEST_SEQUENCES = 1000
TEST_SEED = 20_000


def sequences(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs of shape (count, length, 2), a number and its mark at each step, and the sums of shape (count,)."""
    numbers = torch.rand(count, length, generator=generator)
    marks = torch.zeros(count, length)
    every, half = torch.arange(count), length // 2
    marks[every, torch.randint(0, half, (count,), generator=generator)] = 1.0
    marks[every, torch.randint(half, length, (count,), generator=generator)] = 1.0
    return torch.stack([numbers, marks], dim=2), (numbers * marks).sum(1)


def held_out(length: int) -> tuple[Tensor, Tensor]:
    """The sequences that every training of that length is scored on."""
    return sequences(TEST_SEQUENCES, length, torch.Generator().manual_seed(TEST_SEED))


class Adder(nn.Module):
    """A vanilla recurrent network that answers with one number after the last step."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.body = nn.RNN(2, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One sum for each sequence of shape (length, 2)."""
        states, _ = self.body(x)
        return self.head(states[:, -1]).squeeze(1)
