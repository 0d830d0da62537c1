"""The rule symmetric-init: all units of a layer start with equal weights, and keep them equal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import EQUAL_ROWS
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import COPIES, COPIES_AT_FIRST
from unvanish.record.finding import Cause, Finding, Severity

CHECKED_ROW = 9  # the sample of the tenth step


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

    def examine(self, view: RunView) -> Iterator[Finding]:
        spread = view.values("unit_spread")
        if not len(spread):
            return
        yield from self._check_all_zero(view)
        later = spread[min(CHECKED_ROW, len(spread) - 1)]
        equal_rows = [
            i
            for i in range(spread.shape[1])
            if spread[0, i] <= COPIES_AT_FIRST.value and later[i] <= COPIES.value and view.parameter(i).trainable
        ]
        if not equal_rows:
            return
        yield self._finding(view, equal_rows, float(np.nanmax(later[equal_rows])))

    def _check_all_zero(self, view: RunView) -> Iterator[Finding]:
        """The finding of a network whose matrices are all zero: at most the last one can move."""
        sizes = view.values("log10_weight_rms")
        matrices = [i for i, p in enumerate(view.structure.parameters[: sizes.shape[1]]) if len(p.shape) > 1 and p.trainable]
        last = sizes[min(CHECKED_ROW, len(sizes) - 1)]
        if len(matrices) > 1 and bool((sizes[0, matrices] == -np.inf).all()) and int((last[matrices] > -np.inf).sum()) <= 1:
            yield self._finding(view, matrices, 0.0)

    def _finding(self, view: RunView, equal_rows: list[int], spread: float) -> Finding:
        names = [view.structure.parameter_label(i) for i in equal_rows]
        sites = [i for i, s in enumerate(view.structure.sites) if set(s.parameters) & set(equal_rows)]
        return Finding(
            self.code,
            Severity.CRITICAL,
            EQUAL_ROWS.value,
            "All units of a layer started as copies of each other and still are.",
            f"The rows of {wording.format_names(names)} are equal, so every unit computes and learns the same: the layer is one "
            "unit wide.",
            advice="Draw the initial weights at random.",
            sites=view.site_labels(sites),
            cause=Cause("symmetric-init"),
            evidence=(COPIES.as_evidence("unit_spread", spread, names[0]),),
            remedies=("he-init", "glorot-init"),
            began=int(view.run.sampled[0]),
            location=view.location(sites[0]) if sites else None,
        )
