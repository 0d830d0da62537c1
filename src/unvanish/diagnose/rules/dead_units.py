"""dead-units: units that are zero for every example, and so get no gradient and never come back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import DEAD, HARDLY_LEARNED
from unvanish.diagnose.trend import trend
from unvanish.record.finding import Cause, Finding, Severity

BORN_SO = "It was so from the first step: the initial biases or weights keep every unit off."
DIED = "They died during training: a step was too large."
ADVICE_BORN = "Start with zero biases and He weights."
ADVICE_DIED = "Lower the learning rate, or use an activation that leaks."
REMEDIES_BORN = ("he-init", "leaky-relu + he-init", "batchnorm", "elu + he-init", "learning-rate")
REMEDIES_DIED = ("learning-rate", "leaky-relu + he-init", "batchnorm", "he-init", "clip-norm")


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

    def examine(self, chart: RunView) -> Iterator[Finding]:
        early, late = chart.early("silent_fraction"), chart.late("silent_fraction")
        for chain in chart.chains:
            dead = [i for i in chain.activations if late[i] >= DEAD.value]
            if not dead or chart.learned(chain, HARDLY_LEARNED.value):
                continue
            worst = max(dead, key=lambda i: late[i])
            born = bool(early[worst] >= DEAD.value)
            name = chart.anatomy.site_label(worst)
            gone = chart.values("silent_fraction")[:, worst] >= DEAD.value
            yield Finding(
                self.code,
                Severity.CRITICAL,
                DEAD.confidence(float(late[worst]), least=0.8, most=0.95),
                f"{wording.percent(float(late[worst]))} of the units at {name} are switched off for good.",
                f"At {name} the output is zero for every example, so its weights get no gradient. " + (BORN_SO if born else DIED),
                advice=ADVICE_BORN if born else ADVICE_DIED,
                sites=chart.labels(dead),
                cause=Cause("dead-units" if born else "learning-rate-too-high"),
                evidence=(DEAD.shown("silent_fraction", float(late[worst]), name),),
                remedies=REMEDIES_BORN if born else REMEDIES_DIED,
                began=chart.sampled_step(np.asarray(gone)),
                location=chart.location(worst),
                trend=trend(chart.values("silent_fraction")[:, worst], worse=1, step=0.05),
            )
