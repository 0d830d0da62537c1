"""overfitting: the network learns its examples by heart, and gets worse at others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import LayerStack, RunView, mean
from unvanish.diagnose.thresholds import MEMORISED, NO_MORE_TO_LEARN, ROSE_AGAIN, SCORE_GAP, SEEN_AGAIN, WORSE_THAN_CONSTANT
from unvanish.record.finding import Cause, Evidence, Finding, Severity

HELD_OUT = re.compile(r"(?:^|[^a-z])(?:val|valid|validation|test|eval|dev|held)(?:[^a-z]|$)")
LOSSES = re.compile(r"loss|nll|mse|entropy|bce|deviance")
SCORES = re.compile(r"acc|f1|auc|r2|precision|recall|score")


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A figure on data that was not trained on, as the script reported it: its name, steps and values."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


@final
class Overfitting(Rule):
    """On data that was not trained on, the network does worse than it did, or worse than an answer that ignores the input,
    while its training loss is low.

    Sees: figures of validation that the script prints or logs, the training loss, and what a constant answer would get.

    Why it matters: what is learned from there on is the examples themselves and their accidents. It will fail on others.

    Known problems: without any figure of validation nothing can be said. A gap between training and validation is usual: only
    one that costs something counts.

    Example: 70,000 weights, 400 noisy examples, 600 steps.

    References: Geman 1992; Prechelt 1998, "Early stopping: but when?".
    """

    code: ClassVar[str] = "overfitting"
    rank: ClassVar[int] = 68

    def examine(self, chart: RunView) -> Iterator[Finding]:
        if len(chart.chains) != 1:
            return
        chain = chart.chains[0]
        for figure in _held_out(chart):
            found = self._losses(chart, chain, figure) if LOSSES.search(figure.name) else self._scores(chart, chain, figure)
            if found is not None:
                yield found
                return

    def _losses(self, chart: RunView, chain: LayerStack, figure: HeldOut) -> Finding | None:
        course = chart.course(chain.objective)
        if course is None or not course.finite:
            return None
        last, best = figure.values[-1], min(figure.values)
        scale, constant = _scale(chart, chain), _constant(chart, chain)
        trained = course.end / scale if scale is not None else course.end
        again = last / best if best > 0 and len(figure.values) >= 3 else np.nan
        beside = last / constant if constant is not None else np.nan
        if not last > 0 or not trained <= MEMORISED.value * last:
            return None
        if again >= ROSE_AGAIN.value:
            began = figure.steps[int(np.argmin(figure.values))]
            how, evidence = (
                f"It was {wording.quantity(best)} at step {began}",
                ROSE_AGAIN.shown(f"{figure.name} over its best", again),
            )
            sure = ROSE_AGAIN.confidence(again, least=0.85)
        elif beside >= WORSE_THAN_CONSTANT.value:
            began, how = None, f"An answer that ignores the input would get {wording.quantity(constant or 0.0)}"
            evidence = WORSE_THAN_CONSTANT.shown(f"{figure.name} over that of a constant answer", beside)
            sure = WORSE_THAN_CONSTANT.confidence(beside, least=0.85)
        else:
            return None
        why = f"{figure.name} is {wording.quantity(last)} at the end, the training loss {wording.quantity(trained)}. {how}."
        return self._finding(chart, chain, why, (evidence, MEMORISED.shown("training loss over it", trained / last)), sure, began)

    def _scores(self, chart: RunView, chain: LayerStack, figure: HeldOut) -> Finding | None:
        heads = chart.heads(chain)
        last, best = figure.values[-1], max(figure.values)
        if len(heads) != 1 or best > 1.0:
            return None
        trained = mean(chart.values("score")[-3:, heads[0]])
        seen = mean(chart.values("seen_before")[-3:, heads[0]])
        fell = len(figure.values) >= 3 and best - last >= SCORE_GAP.value / 4
        by_heart = trained >= NO_MORE_TO_LEARN.value and seen >= SEEN_AGAIN.value and trained - last >= 2 * SCORE_GAP.value
        if not trained - last >= SCORE_GAP.value or not (fell or by_heart):
            return None
        began = figure.steps[int(np.argmax(figure.values))]
        why = (
            f"{figure.name} is {wording.percent(last)} at the "
            f"end{f', after {wording.percent(best)} at step {began}' if fell else ''}, while the "
            f"score on the training batches is {wording.percent(trained)}."
        )
        evidence = (SCORE_GAP.shown(f"training score minus {figure.name}", trained - last),)
        return self._finding(chart, chain, why, evidence, SCORE_GAP.confidence(trained - last), began)

    def _finding(
        self, chart: RunView, chain: LayerStack, why: str, evidence: tuple[Evidence, ...], confidence: float, began: int | None
    ) -> Finding:
        size = sum(p.size for p in chart.anatomy.parameters if p.trainable and p.network in chain.networks)
        return Finding(
            self.code,
            Severity.CRITICAL,
            confidence,
            "The network learns its examples by heart, and gets worse at others.",
            f"{why} It has {size:,} trainable weights.",
            advice="Stop earlier, at the best validation; get more data or augment it; make the network smaller, or add dropout "
            "or weight decay.",
            sites=chart.labels(chain.layers),
            cause=Cause(self.code),
            evidence=evidence,
            began=began,
        )


def _held_out(chart: RunView) -> list[HeldOut]:
    """The figures of validation, losses first."""
    series: dict[str, list[tuple[int, float]]] = {}
    for metric in chart.run.metrics:
        name = metric.name.lower()
        if HELD_OUT.search(name) and (LOSSES.search(name) or SCORES.search(name)) and np.isfinite(metric.value):
            series.setdefault(metric.name, []).append((metric.step, metric.value))
    found = [HeldOut(name, tuple(s for s, _ in values), tuple(v for _, v in values)) for name, values in series.items()]
    return sorted(found, key=lambda each: (not LOSSES.search(each.name.lower()), each.name))


def _scale(chart: RunView, chain: LayerStack) -> float | None:
    """The training loss over the criterion's plain mean, which is what validations report; None where they do not go together."""
    heads = chart.heads(chain)
    return chart.scale(chain, heads[0]) if len(heads) == 1 else None


def _constant(chart: RunView, chain: LayerStack) -> float | None:
    """The loss of the best constant answer, as the criterion's plain mean; None where the training loss is something else."""
    if _scale(chart, chain) is None:
        return None
    values = chart.values("constant_loss")[:, chart.heads(chain)[0]]
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) and known[-1] > 0 else None
