"""A nearest-neighbour baseline: predicts targets from the most similar earlier inputs, to measure how much there is to learn.

Each sampled batch is predicted from the batches sampled before it and only then added to them, so that no example predicts itself.
Inputs that were sampled before, as in a second epoch, are counted and left out.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unvanish.observe.statistics.tensor_statistics import Number, to_number

MAX_ROWS = 1024  # examples kept, the last ones
MAX_FEATURES = 128  # of each example, evenly spaced
NEIGHBOUR_COUNT = 5
MIN_ROWS = 20  # examples needed before the first prediction
DUPLICATE_TOLERANCE = 1e-5  # of the sum of their squared norms: nearer rows are the same, in float32


class Neighbours:
    """Keeps inputs and targets of one head, on their device."""

    def __init__(self) -> None:
        self._inputs: Tensor | None = None
        self._targets: Tensor | None = None
        self._moments: Tensor | None = None

    def update(self, inputs: Tensor, targets: Tensor) -> dict[str, Number]:
        """Predicts one batch, adds it to the examples, and returns the numbers over all batches so far, by quantity name.

        `inputs` is float32 of shape (examples, features), `targets` of shape (examples, columns): values, or an indicator of each
        class. Empty until there are MIN_ROWS earlier examples; examples of another shape start anew.
        """
        inputs = inputs[:, :: max(1, -(-inputs.shape[1] // MAX_FEATURES))]
        known_inputs, known_targets = self._inputs, self._targets
        if (
            known_inputs is None
            or known_targets is None
            or known_inputs.shape[1] != inputs.shape[1]
            or known_targets.shape[1] != targets.shape[1]
        ):
            self._inputs, self._targets, self._moments = inputs, targets, None
            return {}
        if len(known_inputs) >= MIN_ROWS:
            moments = _neighbour_moments(inputs, targets, known_inputs, known_targets)
            self._moments = moments if self._moments is None else self._moments + moments
        self._inputs = torch.cat([known_inputs, inputs])[-MAX_ROWS:]
        self._targets = torch.cat([known_targets, targets])[-MAX_ROWS:]
        return _correlation(self._moments) if self._moments is not None else {}


def _neighbour_moments(inputs: Tensor, targets: Tensor, known_inputs: Tensor, known_targets: Tensor) -> Tensor:
    """Sums over the new examples of the first and second moments of predictions and targets; then the number of new examples, and
    that of all. Float64, shape (5 columns + 2,)."""
    mean, spread = known_inputs.mean(0), known_inputs.std(0, correction=0)
    scale = torch.where(spread > 0, spread, torch.ones_like(spread))
    queries, keys = (inputs - mean) / scale, (known_inputs - mean) / scale
    distance = torch.cdist(queries, keys).square()  # (examples, known examples)
    is_same = distance <= DUPLICATE_TOLERANCE * (queries.square().sum(1)[:, None] + keys.square().sum(1)[None, :])
    is_new = (~is_same.any(1)).double()
    nearest = distance.masked_fill(is_same, torch.inf).topk(min(NEIGHBOUR_COUNT, len(known_inputs)), largest=False).indices
    predicted, true = known_targets[nearest].double().mean(1), targets.double()  # (examples, columns)
    moments = torch.cat([predicted, true, predicted * predicted, true * true, predicted * true], 1)
    return torch.cat([is_new @ moments, is_new.sum()[None], torch.full_like(is_new[:1], len(is_new))])


def _correlation(moments: Tensor) -> dict[str, Number]:
    *_, new_count, total_count = moments
    predicted, true, predicted_squared, true_squared, product = (moments[:-2] / new_count.clamp_min(1.0)).reshape(5, -1)
    covariance = (product - predicted * true).sum()
    predicted_variance = (predicted_squared - predicted * predicted).sum().clamp_min(0)
    true_variance = (true_squared - true * true).sum().clamp_min(0)
    scale = (predicted_variance * true_variance).sqrt()
    return {
        "neighbour_correlation": to_number(covariance / scale.clamp_min(torch.finfo(torch.float64).tiny)),
        "neighbour_count": to_number(new_count),
        "seen_before": to_number(1.0 - new_count / total_count),
    }
