"""What a batch normalisation goes by: how many values its statistics have, and whether those kept for evaluation fit them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unvanish.observe.statistics.tensor_statistics import EXAMPLES, Number, number

MOST = 2**11  # values of a channel: they give its deviation to about 2 %
FEWEST = 8  # values of the sample below which its own means and variances are too rough to compare with


def batch_statistics(module: nn.Module, inputs: Tensor) -> dict[str, Number]:
    """The numbers of a batch normalisation in training, by the names of their quantities; empty for anything else.

    With `s` the batch's deviation over the one kept, and `d` the difference of means over the one kept, the output in evaluation
    mode is another one by sqrt((s - 1)^2 + d^2) standard deviations.
    """
    if not isinstance(module, nn.modules.batchnorm._BatchNorm) or not module.training or inputs.dim() < 2:  # pyright: ignore[reportPrivateUsage]
        return {}
    numbers: dict[str, Number] = {"values_per_statistic": float(inputs.numel() // inputs.shape[1])}
    kept_mean, kept_variance = module.running_mean, module.running_var
    sample = inputs.detach()[:: max(1, inputs.shape[0] // EXAMPLES)]
    if sample.dim() > 2:
        positions = sample.flatten(2)
        sample = positions[:, :, :: max(1, sample.shape[0] * positions.shape[2] // MOST)]
    sample = sample.double()
    if kept_mean is None or kept_variance is None or sample.numel() // sample.shape[1] < FEWEST:
        return numbers
    variance, mean = torch.var_mean(sample, [d for d in range(sample.dim()) if d != 1])
    kept = (kept_variance.double() + module.eps).sqrt()
    wider, shifted = (variance + module.eps).sqrt() / kept, (mean - kept_mean.double()) / kept
    numbers["evaluation_gap"] = number(((wider - 1).square() + shifted.square()).mean().sqrt())
    return numbers
