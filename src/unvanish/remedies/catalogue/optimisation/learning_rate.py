"""The remedy learning-rate: sets the learning rate that a range test on copies finds (Smith 2017)."""

from __future__ import annotations

from typing import ClassVar, final

from torch import nn
from torch.optim import LBFGS, Optimizer

from unvanish.errors import NotApplicable, UnvanishError, UsageError
from unvanish.remedies.base import Context, Operation, Remedy
from unvanish.remedies.optimizers.group_settings import find_optimizers, intended_rates, scale_rates, set_rates
from unvanish.remedies.optimizers.learning_rate_search import find_learning_rate

TOLERANCE = 2.0
"""The present rate is right where it is within this factor of the one that is found: the search is no more precise than that."""


@final
class LearningRate(Remedy):
    """Finds the learning rate by a range test, and sets it.

    Does: trains a copy of network and optimizer on the example batch, at a rate that rises from 1e-7 to 10 over 100 steps, and
        takes the rate at which the loss falls most steeply. That rate is then held for 60 steps on a fresh copy, and lowered by
        three as long as a lower one gets further; it is halved where twice as much does not get half as far. The largest rate of
        the optimizer becomes what is found, and those of other groups keep their proportion to it. With a scheduler that is
        there already, each step takes the scheduler's rate times a factor. Network, optimizer and random state stay untouched.
    Helps: a rate that is off by decades: a loss that does not move, or one that leaps and never comes back.
    Harms: one batch tells nothing of the noise between batches, and nothing of what comes after the first hundred steps: give a
        large batch, and a schedule that falls. For large networks the copies need as much memory again as training does.
    Cost: none per step; 220 to 600 training steps on a copy, once.
    References: Smith 2017, arXiv 1506.01186.
    """

    name: ClassVar[str] = "learning-rate"
    family: ClassVar[str] = "optimisation"
    summary: ClassVar[str] = "the learning rate that a range test finds"
    treats: ClassVar[tuple[str, ...]] = (
        "learning-rate-too-high",
        "learning-rate-too-low",
        "loss-not-decreasing",
        "attention-collapse",
    )

    def plan(self, network: nn.Module, context: Context) -> tuple[Operation, ...]:
        """The new rate. Raises NotApplicable without a batch and a loss, where the loss falls at no rate, or the rate is right."""
        path, optimizer = self._optimizer(network, context)
        if context.inputs is None or context.loss is None:
            raise NotApplicable(
                f"{self.name}: it tries rates out, for which it needs an example batch and its loss; pass inputs= and "
                "loss=, a function that makes one number of the network's outputs"
            )
        try:
            rate = find_learning_rate(network, optimizer, context.inputs, context.loss, seed=context.generator.initial_seed())
        except UnvanishError:
            raise
        except Exception as error:  # the user's network, loss and optimizer may raise anything
            raise UsageError(
                f"{self.name}: a copy of {type(network).__name__} and its {type(optimizer).__name__} cannot be trained on inputs= "
                f"with loss= ({type(error).__name__}: {error}); pass one batch as the network takes it, and loss(outputs) -> scalar"
            ) from error
        present_rate = max(intended_rates(optimizer))
        if rate is None:
            raise NotApplicable(
                f"{self.name}: the loss falls at no rate from 1e-7 to 10, so that the rate is not what is wrong; treat "
                "initialisation, activations or the data first"
            )
        if present_rate and 1 / TOLERANCE <= rate / present_rate <= TOLERANCE:
            raise NotApplicable(
                f"{self.name}: the present rate {present_rate:.3g} is right already (the test finds {rate:.3g}); keep it"
            )
        return (set_rates(path, optimizer, scale_rates(optimizer, float(f"{rate:.2g}"))),)

    def _optimizer(self, network: nn.Module, context: Context) -> tuple[str, Optimizer]:
        optimizers = find_optimizers(network, context.optimizers, remedy=self.name)
        if len(optimizers) > 1:
            raise NotApplicable(f"{self.name}: {len(optimizers)} optimizers train {type(network).__name__}; give one at a time")
        ((path, optimizer),) = optimizers.items()
        if isinstance(optimizer, LBFGS):
            raise NotApplicable(f"{self.name}: LBFGS chooses its own step; a range test says nothing about it")
        return path, optimizer
