"""The remedies that change the optimizer, and the optimizers on which tests apply them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import SGD, Adagrad, Adam, AdamW, NAdam, Optimizer, RMSprop

from unvanish.remedies.base import Remedy
from unvanish.remedies.catalogue.optimisation.adamw import AdamW as AdamWRemedy
from unvanish.remedies.catalogue.optimisation.clip_adaptive import ClipAdaptive
from unvanish.remedies.catalogue.optimisation.clip_norm import ClipNorm
from unvanish.remedies.catalogue.optimisation.epsilon import Epsilon
from unvanish.remedies.catalogue.optimisation.learning_rate import LearningRate
from unvanish.remedies.catalogue.optimisation.loss_scaling import LossScaling
from unvanish.remedies.catalogue.optimisation.muon import Muon
from unvanish.remedies.catalogue.optimisation.sgd_momentum import SgdMomentum
from unvanish.remedies.catalogue.optimisation.skip_non_finite import SkipNonFinite
from unvanish.remedies.catalogue.optimisation.warmup import WarmUp

REMEDIES: tuple[Remedy, ...] = (
    LearningRate(),
    WarmUp(),
    ClipNorm(),
    ClipAdaptive(),
    AdamWRemedy(),
    SgdMomentum(),
    Muon(),
    Epsilon(),
    LossScaling(),
    SkipNonFinite(),
)
CATALOGUE = {remedy.name: remedy for remedy in REMEDIES}
OPTIMIZERS: dict[str, Callable[[Any], Optimizer]] = {
    "sgd": lambda p: SGD(p, lr=1e-4),
    "nesterov": lambda p: SGD(p, lr=1e-4, momentum=0.5, nesterov=True, weight_decay=1e-3),
    "adam": lambda p: Adam(p, lr=1e-5, eps=0.1),
    "adamw": lambda p: AdamW(p, lr=1e-5, weight_decay=0.2, amsgrad=True),
    "rmsprop": lambda p: RMSprop(p, lr=1e-5, eps=1.0, centered=True),
    "adagrad": lambda p: Adagrad(p, lr=1e-4, eps=1e-3),
    "nadam": lambda p: NAdam(p, lr=1e-5, eps=1e-3),
}
