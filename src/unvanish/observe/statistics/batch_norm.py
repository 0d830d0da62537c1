"""Statistics of a batch normalisation: values per mean and variance, and how far the running ones differ from the batch's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unvanish.observe.statistics.tensor_statistics import MAX_EXAMPLES, Number, to_number

MAX_VALUES = 2**11  # of a channel: they give its standard deviation to about 2 %
MIN_VALUES = 8  # of a channel; means and variances of fewer are too rough to compare with


def batch_norm_statistics(module: nn.Module, inputs: Tensor) -> dict[str, Number]:
    """The numbers of a batch normalisation in training mode, by quantity name; empty for any other module.

    `inputs` has shape (examples, channels, ...). With `s` the batch's standard deviation over the running one, and `d` the
    difference of means over the running standard deviation, the output in evaluation mode differs by sqrt((s - 1)^2 + d^2) standard
    deviations.
    """
    if not isinstance(module, nn.modules.batchnorm._BatchNorm) or not module.training or inputs.dim() < 2:  # pyright: ignore[reportPrivateUsage]
        return {}
    numbers: dict[str, Number] = {"values_per_statistic": float(inputs.numel() // inputs.shape[1])}
    running_mean, running_variance = module.running_mean, module.running_var
    sample = inputs.detach()[:: max(1, inputs.shape[0] // MAX_EXAMPLES)]
    if sample.dim() > 2:
        positions = sample.flatten(2)
        sample = positions[:, :, :: max(1, sample.shape[0] * positions.shape[2] // MAX_VALUES)]
    sample = sample.double()
    if running_mean is None or running_variance is None or sample.numel() // sample.shape[1] < MIN_VALUES:
        return numbers
    variance, mean = torch.var_mean(sample, [d for d in range(sample.dim()) if d != 1])
    running_deviation = (running_variance.double() + module.eps).sqrt()
    s, d = (variance + module.eps).sqrt() / running_deviation, (mean - running_mean.double()) / running_deviation
    numbers["evaluation_gap"] = to_number(((s - 1).square() + d.square()).mean().sqrt())
    return numbers
