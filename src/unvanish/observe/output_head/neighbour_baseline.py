"""What there is to learn, told without any network: whether similar inputs have similar answers.

Each sampled batch is answered from the batches sampled before, by the most similar inputs among them, and only then taken in: so no
example answers for itself. Inputs that were seen before, as a second epoch shows them again, are counted and left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unvanish.observe.statistics.tensor_statistics import Number, number

MOST_ROWS = 1024  # examples kept
FEATURES = 128  # of each, evenly spaced
NEAREST = 5
FEWEST = 20  # examples before the first answer is tried
SAME = 1e-5  # of the size of two rows: nearer than that, in float32, they are the same row


class Neighbours:
    """Owner of the examples of one head. On an accelerator they stay there."""

    def __init__(self) -> None:
        self._rows: Tensor | None = None
        self._answers: Tensor | None = None
        self._tally: Tensor | None = None

    def meet(self, inputs: Tensor, answers: Tensor) -> dict[str, Number]:
        """The numbers over all batches so far, this one included, by the names of their quantities; then it is remembered.

        `inputs` is float32 of shape (rows, features), `answers` of shape (rows, columns): amounts, or an indicator of each class.
        """
        inputs = inputs[:, :: max(1, -(-inputs.shape[1] // FEATURES))]
        known = self._rows
        if (
            known is None
            or self._answers is None
            or known.shape[1] != inputs.shape[1]
            or self._answers.shape[1] != answers.shape[1]
        ):
            self._rows, self._answers, self._tally = inputs, answers, None
            return {}
        if len(known) >= FEWEST:
            found = _answered(inputs, answers, known, self._answers)
            self._tally = found if self._tally is None else self._tally + found
        self._rows = torch.cat([known, inputs])[-MOST_ROWS:]
        self._answers = torch.cat([self._answers, answers])[-MOST_ROWS:]
        return _numbers(self._tally) if self._tally is not None else {}


def _answered(inputs: Tensor, answers: Tensor, rows: Tensor, known: Tensor) -> Tensor:
    """Sums over the new ones among `inputs`: their number, the moments of neighbours' mean answers and true answers; and how many
    inputs there were. Float64, shape (5 columns + 2,)."""
    middle, spread = rows.mean(0), rows.std(0, correction=0)
    scale = torch.where(spread > 0, spread, torch.ones_like(spread))
    ours, theirs = (inputs - middle) / scale, (rows - middle) / scale
    distance = torch.cdist(ours, theirs).square()
    same = distance <= SAME * (ours.square().sum(1)[:, None] + theirs.square().sum(1)[None, :])
    new = (~same.any(1)).double()
    nearest = distance.masked_fill(same, torch.inf).topk(min(NEAREST, len(rows)), largest=False).indices
    told, true = known[nearest].double().mean(1), answers.double()
    moments = torch.cat([told, true, told * told, true * true, told * true], 1)
    return torch.cat([new @ moments, new.sum()[None], torch.full_like(new[:1], len(new))])


def _numbers(tally: Tensor) -> dict[str, Number]:
    *_, count, met = tally
    told, true, told_squared, true_squared, product = (tally[:-2] / count.clamp_min(1.0)).reshape(5, -1)
    together = (product - told * true).sum()
    spreads = (told_squared - told * told).sum().clamp_min(0), (true_squared - true * true).sum().clamp_min(0)
    scale = (spreads[0] * spreads[1]).sqrt()
    return {
        "neighbour_correlation": number(together / scale.clamp_min(torch.finfo(torch.float64).tiny)),
        "neighbour_count": number(count),
        "seen_before": number(1.0 - count / met),
    }
