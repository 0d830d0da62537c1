"""The rule dead-units: units that are zero for every example get no gradient and stay zero."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import SHARED_SYMPTOM
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import DEAD, HARDLY_LEARNED
from unvanish.diagnose.trend import classify_trend
from unvanish.record.finding import Cause, Finding, Severity

DEAD_FROM_START = "It was so from the first step: the initial biases or weights keep every unit off."
DIED_IN_TRAINING = "They died during training: a step was too large."
ADVICE_DEAD_FROM_START = "Start with zero biases and He weights."
ADVICE_DIED_IN_TRAINING = "Lower the learning rate, or use an activation that leaks."
REMEDIES_DEAD_FROM_START = ("he-init", "leaky-relu + he-init", "batchnorm", "elu + he-init", "learning-rate")
REMEDIES_DIED_IN_TRAINING = ("learning-rate", "leaky-relu + he-init", "batchnorm", "he-init", "clip-norm")


@final
class DeadUnits(Rule):
    """Nine tenths of a layer's units are zero for every example of the batch, and the network does not learn.

    Sees: the share of units (channels of a convolution) whose output is zero over the whole batch, at the start and at the end;
    how much is learned.

    Why it matters: a ReLU that is off for every example has no gradient, so its weights never change again.

    Known problems: a small batch makes a sparse unit look dead; a network that reached its goal may switch units off, and is
    left alone.

    Example: biases that start at -3; one step so long that every unit of a layer falls below zero.

    References: Maas 2013; Lu 2019 (arXiv 1903.06733).
    """

    code: ClassVar[str] = "dead-units"
    rank: ClassVar[int] = 32
    explains: ClassVar[frozenset[str]] = frozenset({"loss-not-decreasing", "vanishing-gradient", "learning-rate-too-low"})

    def examine(self, view: RunView) -> Iterator[Finding]:
        early, late = view.early_median("silent_fraction"), view.late_median("silent_fraction")
        for stack in view.stacks:
            dead = [i for i in stack.activations if late[i] >= DEAD.value]
            if not dead or view.has_learned(stack, HARDLY_LEARNED.value):
                continue
            worst = max(dead, key=lambda i: late[i])
            dead_from_start = bool(early[worst] >= DEAD.value)
            name = view.structure.site_label(worst)
            is_dead = view.values("silent_fraction")[:, worst] >= DEAD.value
            yield Finding(
                self.code,
                Severity.CRITICAL,
                DEAD.confidence(float(late[worst]), SHARED_SYMPTOM),
                f"{wording.format_percent(float(late[worst]))} of the units at {name} are switched off for good.",
                f"At {name} the output is zero for every example, so its weights get no gradient. "
                + (DEAD_FROM_START if dead_from_start else DIED_IN_TRAINING),
                advice=ADVICE_DEAD_FROM_START if dead_from_start else ADVICE_DIED_IN_TRAINING,
                sites=view.site_labels(dead),
                cause=Cause("dead-units" if dead_from_start else "learning-rate-too-high"),
                evidence=(DEAD.as_evidence("silent_fraction", float(late[worst]), name),),
                remedies=REMEDIES_DEAD_FROM_START if dead_from_start else REMEDIES_DIED_IN_TRAINING,
                began=view.first_sampled_step(np.asarray(is_dead)),
                location=view.location(worst),
                trend=classify_trend(view.values("silent_fraction")[:, worst], worse=1, step=0.05),
            )
