"""The rule overfitting: the validation loss or score gets worse while the training loss is low."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import MEASURED_FAULT
from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import LATE_ROWS, RunView, finite_mean, finite_median
from unvanish.diagnose.thresholds import MEMORISED, NO_MORE_TO_LEARN, ROSE_AGAIN, SCORE_GAP, SEEN_AGAIN, WORSE_THAN_CONSTANT
from unvanish.record.finding import Cause, Evidence, Finding, Severity

VALIDATION = re.compile(r"(?:^|[^a-z])(?:val|valid|validation|test|eval|dev|held)(?:[^a-z]|$)")
LOSSES = re.compile(r"loss|nll|mse|entropy|bce|deviance")
SCORES = re.compile(r"acc|f1|auc|r2|precision|recall|score")

ONE_ANSWER = frozenset({"cross-entropy", "likelihood"})  # criteria that compare one class for each example
MIN_VALIDATIONS = 3  # fewer show no course


@dataclass(frozen=True, slots=True)
class ValidationMetric:
    """A metric on data that was not trained on, as the script reported it: its name, steps and values."""

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
    one that costs something counts. Where the loss is a sum over examples or pixels, or has further terms, its size tells nothing;
    then both figures are compared by what has become of them since the first validation.

    Example: 70,000 weights, 400 noisy examples, 600 steps.

    References: Geman 1992; Prechelt 1998, "Early stopping: but when?".
    """

    code: ClassVar[str] = "overfitting"
    rank: ClassVar[int] = 68

    def examine(self, view: RunView) -> Iterator[Finding]:
        if len(view.stacks) != 1:
            return
        stack = view.stacks[0]
        for metric in _validation_metrics(view):
            finding = (
                self._check_loss(view, stack, metric) if LOSSES.search(metric.name) else self._check_score(view, stack, metric)
            )
            if finding is not None:
                yield finding
                return

    def _check_loss(self, view: RunView, stack: LayerStack, metric: ValidationMetric) -> Finding | None:
        curve = view.loss_curve(stack.objective)
        if curve is None or not curve.finite:
            return None
        last, best = metric.values[-1], min(metric.values)
        scale, constant = _mean_scale(view, stack), _constant_loss(view, stack)
        training = curve.end / scale if scale is not None else curve.end * _scale_at_first(view, stack, metric)
        over_best = last / best if best > 0 and len(metric.values) >= MIN_VALIDATIONS else np.nan
        over_constant = last / constant if constant is not None else np.nan
        if not last > 0 or not training <= MEMORISED.value * last:
            return None
        if over_best >= ROSE_AGAIN.value:
            began = metric.steps[int(np.argmin(metric.values))]
            reason, evidence = (
                f"It was {wording.format_number(best)} at step {began}",
                ROSE_AGAIN.as_evidence(f"{metric.name} over its best", over_best),
            )
            confidence = ROSE_AGAIN.confidence(over_best, MEASURED_FAULT)
        elif over_constant >= WORSE_THAN_CONSTANT.value:
            began, reason = None, f"An answer that ignores the input would get {wording.format_number(constant or 0.0)}"
            evidence = WORSE_THAN_CONSTANT.as_evidence(f"{metric.name} over that of a constant answer", over_constant)
            confidence = WORSE_THAN_CONSTANT.confidence(over_constant, MEASURED_FAULT)
        else:
            return None
        why = (
            f"{metric.name} is {wording.format_number(last)} at the end, the training loss {wording.format_number(training)}. "
            f"{reason}."
        )
        return self._finding(
            view, stack, why, (evidence, MEMORISED.as_evidence("training loss over it", training / last)), confidence, began
        )

    def _check_score(self, view: RunView, stack: LayerStack, metric: ValidationMetric) -> Finding | None:
        heads = view.heads(stack)
        last, best = metric.values[-1], max(metric.values)
        if len(heads) != 1 or best > 1.0:
            return None
        training = finite_mean(view.values("score")[-3:, heads[0]])
        seen_before = finite_mean(view.values("seen_before")[-3:, heads[0]])
        has_fallen = len(metric.values) >= MIN_VALIDATIONS and best - last >= SCORE_GAP.value / 4
        is_memorised = (
            training >= NO_MORE_TO_LEARN.value and seen_before >= SEEN_AGAIN.value and training - last >= 2 * SCORE_GAP.value
        )
        if not training - last >= SCORE_GAP.value or not (has_fallen or is_memorised):
            return None
        began = metric.steps[int(np.argmax(metric.values))]
        why = (
            f"{metric.name} is {wording.format_percent(last)} at the "
            f"end{f', after {wording.format_percent(best)} at step {began}' if has_fallen else ''}, while the score on the "
            f"training batches is {wording.format_percent(training)}."
        )
        evidence = (SCORE_GAP.as_evidence(f"training score minus {metric.name}", training - last),)
        return self._finding(view, stack, why, evidence, SCORE_GAP.confidence(training - last), began)

    def _finding(
        self, view: RunView, stack: LayerStack, why: str, evidence: tuple[Evidence, ...], confidence: float, began: int | None
    ) -> Finding:
        size = sum(p.size for p in view.structure.parameters if p.trainable and p.network in stack.networks)
        return Finding(
            self.code,
            Severity.CRITICAL,
            confidence,
            "The network learns its examples by heart, and gets worse at others.",
            f"{why} It has {size:,} trainable weights.",
            advice="Stop earlier, at the best validation; get more data or augment it; make the network smaller, or add dropout "
            "or weight decay.",
            sites=view.site_labels(stack.layers),
            cause=Cause(self.code),
            evidence=evidence,
            began=began,
        )


def _validation_metrics(view: RunView) -> list[ValidationMetric]:
    """The metrics of validation, losses first."""
    series: dict[str, list[tuple[int, float]]] = {}
    for metric in view.run.metrics:
        name = metric.name.lower()
        if VALIDATION.search(name) and (LOSSES.search(name) or SCORES.search(name)) and np.isfinite(metric.value):
            series.setdefault(metric.name, []).append((metric.step, metric.value))
    metrics = [ValidationMetric(name, tuple(s for s, _ in values), tuple(v for _, v in values)) for name, values in series.items()]
    return sorted(metrics, key=lambda metric: (not LOSSES.search(metric.name.lower()), metric.name))


def _mean_scale(view: RunView, stack: LayerStack) -> float | None:
    """The training loss over the criterion's mean, in which the script then reports its validation as well.

    None where their ratio is not constant, and where an example has many values, as the pixels of a picture: whether the validation
    is a sum over these or their mean is then not known.
    """
    heads = view.heads(stack)
    if len(heads) != 1:
        return None
    head = view.structure.heads[heads[0]]
    has_one_answer = head.criterion in ONE_ANSWER or head.width == 1
    return view.criterion_scale(stack, heads[0]) if has_one_answer else None


def _scale_at_first(view: RunView, stack: LayerStack, metric: ValidationMetric) -> float:
    """The first validation over the training loss at that time, before anything was learned by heart; NaN where there is none.

    It stands for the unknown factor between the two, a sum over pixels or a mean.
    """
    steps, losses = view.run.objective(stack.objective)
    before = losses[steps <= metric.steps[0]]
    recent = finite_median(before[-max(LATE_ROWS, len(before) // 5) :])
    return metric.values[0] / recent if recent > 0 and len(metric.values) >= MIN_VALIDATIONS else np.nan


def _constant_loss(view: RunView, stack: LayerStack) -> float | None:
    """The loss of the best constant answer, as the criterion's mean; None where the training loss is something else."""
    if _mean_scale(view, stack) is None:
        return None
    values = view.values("constant_loss")[:, view.heads(stack)[0]]
    known = values[np.isfinite(values)]
    return float(known[-1]) if len(known) and known[-1] > 0 else None
