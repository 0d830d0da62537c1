"""The rule representation-collapse: the outputs of all examples become the same while the loss falls."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import MEASURED_FAULT
from unvanish.diagnose.gradient_profile import gradient_profile
from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import BLURRED, COLLAPSED, COLLAPSED_FALL, HALF_LEARNED, HARDLY_LEARNED, SLOW, VANISHED, Threshold
from unvanish.diagnose.trend import classify_trend
from unvanish.record.finding import Cause, Finding, Severity

MIN_OUTPUTS = 2
MIN_SAMPLES = 6
RECONSTRUCTION = frozenset({"squared", "absolute", "binary-cross-entropy", "binary-cross-entropy-with-logits"})
MIN_WIDTH = 16  # values in a picture at least


@final
class RepresentationCollapse(Rule):
    """The outputs of different examples become one and the same, while the loss falls.

    Sees: how far the outputs of the last layer differ between examples, over their size, from the start to the end; the loss, and
    whether it compares the outputs with any target.

    Why it matters: a loss that only pulls together is best served by a constant. It looks perfect, and the representation says
    nothing.

    Known problems: a network that has learned nothing also gives the same answer to everything: there the loss does not fall, and
    this is a symptom. Outputs of one value, and those that a class judges, are left alone.

    Example: pairs that are pulled together, with nothing that pushes others apart; a variational autoencoder that rebuilds the
    mean picture, because its divergence outweighs its error.

    References: Chen and He 2021, "SimSiam" (arXiv 2011.10566); Lucas 2019, "Posterior collapse" (arXiv 1911.02469).
    """

    code: ClassVar[str] = "representation-collapse"
    rank: ClassVar[int] = 36
    explains: ClassVar[frozenset[str]] = frozenset(
        {
            "vanishing-gradient",
            "learning-rate-too-low",
            "dead-units",
            "gradient-noise",
            "exploding-gradient",
            "learning-rate-too-high",
        }
    )

    def examine(self, view: RunView) -> Iterator[Finding]:
        for stack in view.stacks:
            curve = view.loss_curve(stack.objective)
            if not stack.layers or curve is None:
                continue
            is_satisfied = not view.heads(stack) and curve.fall >= HALF_LEARNED.value
            limit = COLLAPSED if is_satisfied else BLURRED if _reconstructs_mean(view, stack) else None
            if limit is None:
                continue
            last = _output_layer(view, stack)
            series = view.values("example_spread")[:, last]
            known = series[np.isfinite(series)]
            if len(known) < MIN_SAMPLES:
                continue
            end = float(np.median(known[-3:]))
            log10_fall = float(np.log10(max(end, 1e-12) / max(float(known[0]), 1e-12)))
            if end <= limit.value and log10_fall <= COLLAPSED_FALL.value:
                yield self._finding(view, last, limit, end, log10_fall)

    def _finding(self, view: RunView, last: int, limit: Threshold, end: float, log10_fall: float) -> Finding:
        series = view.values("example_spread")[:, last]
        name = view.structure.site_label(last)
        is_blurred = limit is BLURRED
        return Finding(
            self.code,
            Severity.CRITICAL,
            min(limit.confidence(end, MEASURED_FAULT), COLLAPSED_FALL.confidence(log10_fall, MEASURED_FAULT)),
            "The network gives every input the same answer: what it knows of the input is lost on the way."
            if is_blurred
            else "The network gives every input the same representation, and its loss is content with that.",
            f"At {wording.format_place(name)} the examples differ by {wording.format_percent(end)} of the output's size, "
            f"{wording.format_remainder(log10_fall)} of what it was at the start, "
            + (
                "although gradients and steps are sound: something in the loss pays for saying nothing."
                if is_blurred
                else "while the loss falls: it is best served by a constant."
            ),
            advice="Lower the weight of the term that holds the code back (in a variational autoencoder, the divergence), "
            "or sum the error over an example instead of averaging it."
            if is_blurred
            else "Add a term that pushes unlike examples apart (a margin, negatives, variance), or stop the gradient on one side.",
            sites=view.site_labels([last]),
            cause=Cause(self.code),
            evidence=(
                limit.as_evidence("example_spread", end, name),
                COLLAPSED_FALL.as_evidence("against the start", log10_fall, name),
            ),
            began=view.first_sampled_step(series <= limit.value),
            location=view.location(last),
            trend=classify_trend(series, worse=-1, step=0.01),
        )


def _reconstructs_mean(view: RunView, stack: LayerStack) -> bool:
    """Whether an autoencoder has learned nothing of its pictures, though its gradient arrives and its weights move."""
    heads = [view.structure.heads[i] for i in view.heads(stack)]
    is_reconstruction = any(head.criterion in RECONSTRUCTION and head.width >= MIN_WIDTH for head in heads)
    update_ratio, profile = view.update_ratio(stack), gradient_profile(view, stack)
    gradient_arrives = profile is None or not profile.at_input(profile.early_median) <= VANISHED.value
    return (
        is_reconstruction
        and update_ratio is not None
        and update_ratio > SLOW.value
        and gradient_arrives
        and not view.has_learned(stack, HARDLY_LEARNED.value)
    )


def _output_layer(view: RunView, stack: LayerStack) -> int:
    """The index of the last layer with two outputs or more, by the shape of its weights; of the last one where none is known."""
    for index in reversed(stack.layers):
        shapes = [view.parameter(i).shape for i in view.site(index).parameters]
        if any(len(shape) > 1 and shape[0] >= MIN_OUTPUTS for shape in shapes):
            return index
    return stack.layers[-1]
