"""The rule batch-too-small: batch normalisation computes its statistics from a handful of values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import MEASURED_FAULT
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import FEW_VALUES, HALF_LEARNED, TWO_VALUES, WELL_LEARNED
from unvanish.record.finding import Cause, Finding, Severity


@final
class BatchTooSmall(Rule):
    """Each mean and variance of a batch normalisation comes from four values or fewer, and the network does not learn well.

    Sees: how many values a statistic of every batch normalisation in training mode has: examples times positions.

    Why it matters: from two values every output is +1 or -1, whatever the input was: what distinguished the examples is gone. From
    `n` values the variance is off by sqrt(2 / (n - 1)) of itself.

    Known problems: small batches of images have many positions, and are fine.

    Example: `nn.BatchNorm1d` with batches of 2.

    References: Ioffe and Szegedy 2015 (arXiv 1502.03167); Wu and He 2018, "Group normalization" (arXiv 1803.08494).
    """

    code: ClassVar[str] = "batch-too-small"
    rank: ClassVar[int] = 12
    explains: ClassVar[frozenset[str]] = frozenset(
        {"loss-not-decreasing", "running-stats-drift", "shattered-gradient", "exploding-gradient", "vanishing-gradient"}
        | {"learning-rate-too-high", "dead-units", "overfitting", "saturated-activation"}
    )

    def examine(self, view: RunView) -> Iterator[Finding]:
        values = view.late_median("values_per_statistic")
        for stack in view.stacks:
            affected = [i for i in stack.sites if values[i] <= FEW_VALUES.value]
            if not affected:
                continue
            fewest = float(np.min(values[affected]))
            if view.has_learned(stack, (WELL_LEARNED if fewest <= TWO_VALUES.value else HALF_LEARNED).value):
                continue
            error = math.sqrt(2 / max(fewest - 1, 1))
            yield Finding(
                self.code,
                Severity.CRITICAL,
                FEW_VALUES.confidence(fewest, MEASURED_FAULT),
                "The batches are too small for batch normalisation: it drowns the examples in its own noise.",
                f"At {wording.format_names(view.site_labels(affected))} each mean and variance comes from "
                f"{wording.format_count(fewest, 'value')}: the variance is off by {wording.format_percent(error)} of itself"
                + (", and every output is +1 or -1, whatever the input was." if fewest <= 2 else "."),
                advice="Normalise over features instead of examples (layer, group or online normalisation), "
                "or enlarge the batches.",
                sites=view.site_labels(affected),
                cause=Cause(self.code),
                evidence=(FEW_VALUES.as_evidence("values in a statistic", fewest, view.structure.site_label(affected[0])),),
                remedies=("layernorm", "groupnorm", "online-norm"),
                began=int(view.run.sampled[0]),
                location=view.location(affected[0]),
            )
