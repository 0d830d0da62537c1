"""The adding problem (Hochreiter and Schmidhuber 1997): add the two marked numbers of a sequence; and an RNN that learns it.

The first marked number is in the first half of the sequence, the second in the other half. A network that remembers nothing does no
better than to answer 1 every time, which leaves the variance of the target, 1/6.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

TARGET_VARIANCE = 1 / 6  # of the sum of two numbers, each uniformly distributed from 0 to 1
DATA_DESCRIPTION = "the adding problem, drawn anew for every step; 1,000 sequences to test, the same in every training"
TEST_SEQUENCES = 1000
TEST_SEED = 20_000


def draw_sequences(count: int, length: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs of shape (count, length, 2), a number and its mark at each step, and the sums of shape (count,)."""
    numbers = torch.rand(count, length, generator=generator)
    marks = torch.zeros(count, length)
    rows, half = torch.arange(count), length // 2
    marks[rows, torch.randint(0, half, (count,), generator=generator)] = 1.0
    marks[rows, torch.randint(half, length, (count,), generator=generator)] = 1.0
    return torch.stack([numbers, marks], dim=2), (numbers * marks).sum(1)


def draw_test_sequences(length: int) -> tuple[Tensor, Tensor]:
    """The 1,000 sequences and sums on which every training of that length is scored."""
    return draw_sequences(TEST_SEQUENCES, length, torch.Generator().manual_seed(TEST_SEED))


class AddingNetwork(nn.Module):
    """A vanilla RNN whose output is one number after the last step."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.body = nn.RNN(2, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Sums of shape (batch,) for sequences of shape (batch, time, 2)."""
        states, _ = self.body(x)  # (batch, time, hidden)
        return self.head(states[:, -1]).squeeze(1)
