"""The rule running-stats-drift: the running statistics of batch normalisation differ from those of the batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import Row, RunView
from unvanish.diagnose.thresholds import DRIFTED
from unvanish.diagnose.trend import classify_trend
from unvanish.record.finding import Cause, Finding, Severity

MIN_STEPS = 30  # with torch's momentum of 0.1 the stored values have forgotten their start by then (0.9^30 = 0.04)


@final
class RunningStatsDrift(Rule):
    """The means and variances that batch normalisation keeps for evaluation lie far from those of the batches it trains on.

    Sees: both, at every batch normalisation in training mode: by how many standard deviations evaluation would change the output.

    Why it matters: the loss falls, and the network still fails as soon as it is evaluated, because there it is another function.

    Known problems: in the first steps the stored values are still those of the start, which is usual, and not counted.

    Example: `nn.BatchNorm1d(n, momentum=0.0005)` in a run of some hundred steps.

    References: Ioffe 2017, "Batch renormalization" (arXiv 1702.03275); Wu and Johnson 2021 (arXiv 2105.07576).
    """

    code: ClassVar[str] = "running-stats-drift"
    rank: ClassVar[int] = 58
    explains: ClassVar[frozenset[str]] = frozenset({"overfitting"})

    def examine(self, view: RunView) -> Iterator[Finding]:
        gaps = view.late_median("evaluation_gap")
        for stack in view.stacks:
            curve = view.loss_curve(stack.objective)
            drifted = [i for i in stack.sites if gaps[i] >= DRIFTED.value]
            if drifted and curve is not None and curve.steps >= MIN_STEPS and curve.finite:
                yield self._finding(view, drifted, gaps)

    def _finding(self, view: RunView, drifted: list[int], gaps: Row) -> Finding:
        worst = max(drifted, key=lambda i: gaps[i])
        name, gap = view.structure.site_label(worst), float(gaps[worst])
        return Finding(
            self.code,
            Severity.CRITICAL,
            DRIFTED.confidence(gap),
            "In evaluation the network will be another one: the statistics that it has stored do not fit.",
            f"At {name} the stored mean and variance would change the output by {gap:.1f} of its standard deviations against what "
            "it was trained with.",
            advice="Raise the momentum of the normalisation (torch's default is 0.1), or recompute its statistics before "
            "evaluation.",
            sites=view.site_labels(drifted),
            cause=Cause(self.code),
            evidence=(DRIFTED.as_evidence("evaluation_gap", gap, name),),
            remedies=("groupnorm", "layernorm", "online-norm"),
            began=int(view.run.sampled[0]),
            location=view.location(worst),
            trend=classify_trend(view.values("evaluation_gap")[:, worst], worse=1, step=0.1),
        )
