"""symmetric-init: all units of a layer start as copies of each other, and stay so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import COPIES, COPIES_AT_FIRST
from unvanish.record.finding import Cause, Finding, Severity

CHECKED_ROW = 9


@final
class SymmetricInit(Rule):
    """All rows of a layer's weight matrix are equal at the first step, and still are ten steps later.

    Sees: how far the rows of each weight matrix differ, over the matrix's RMS.

    Why it matters: units with equal weights get equal gradients, so a layer of a hundred units can do no more than one unit.

    Known problems: a matrix of zeros is not symmetric in this sense (heads and residual branches start so on purpose) unless
    all are, nor is a layer of one unit.

    Example: `nn.init.constant_(module.weight, 0.05)`.

    References: Goodfellow, Bengio and Courville 2016, section 8.4.
    """

    code: ClassVar[str] = "symmetric-init"
    rank: ClassVar[int] = 10
    explains: ClassVar[frozenset[str]] = frozenset(
        {"loss-not-decreasing", "vanishing-gradient", "dead-units", "learning-rate-too-low", "learning-rate-too-high"}
    )

    def examine(self, chart: RunView) -> Iterator[Finding]:
        spread = chart.values("unit_spread")
        if not len(spread):
            return
        yield from self._all_zero(chart)
        later = spread[min(CHECKED_ROW, len(spread) - 1)]
        alike = [
            i
            for i in range(spread.shape[1])
            if spread[0, i] <= COPIES_AT_FIRST.value and later[i] <= COPIES.value and chart.parameter(i).trainable
        ]
        if not alike:
            return
        yield self._finding(chart, alike, float(np.nanmax(later[alike])))

    def _all_zero(self, chart: RunView) -> Iterator[Finding]:
        """Where every matrix is zero none but the last can be moved, and that only once the others have been."""
        sizes = chart.values("log10_weight_rms")
        matrices = [i for i, p in enumerate(chart.anatomy.parameters[: sizes.shape[1]]) if len(p.shape) > 1 and p.trainable]
        last = sizes[min(CHECKED_ROW, len(sizes) - 1)]
        if len(matrices) > 1 and bool((sizes[0, matrices] == -np.inf).all()) and int((last[matrices] > -np.inf).sum()) <= 1:
            yield self._finding(chart, matrices, 0.0)

    def _finding(self, chart: RunView, alike: list[int], spread: float) -> Finding:
        names = [chart.anatomy.parameter_label(i) for i in alike]
        sites = [i for i, s in enumerate(chart.anatomy.sites) if set(s.parameters) & set(alike)]
        return Finding(
            self.code,
            Severity.CRITICAL,
            0.98,
            "All units of a layer started as copies of each other and still are.",
            f"The rows of {wording.span(names)} are equal, so every unit computes and learns the same: the layer is one unit wide.",
            advice="Draw the initial weights at random.",
            sites=chart.labels(sites),
            cause=Cause("symmetric-init"),
            evidence=(COPIES.shown("unit_spread", spread, names[0]),),
            remedies=("he-init", "glorot-init"),
            began=int(chart.run.sampled[0]),
            location=chart.location(sites[0]) if sites else None,
        )
