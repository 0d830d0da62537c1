"""The rule attention-collapse: attention puts all weight on one place, or the same on all, and gets no gradient to change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import EVEN_ATTENTION
from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView, finite_median, nanmedian
from unvanish.diagnose.thresholds import EVEN, HARDLY_LEARNED, MOSTLY_LEARNED, SHARP, SOUND_FOR_SCORES
from unvanish.diagnose.trend import classify_trend
from unvanish.record.finding import Cause, Finding, Severity

END_ROWS = 3  # samples at the start and at the end


@final
class AttentionCollapse(Rule):
    """Most attention layers put all their weight on one place, or the same on all, and the network does not learn.

    Sees: the entropy of the attention weights over that of an even look, of torch's own attention and of softmaxes made by
    hand; the loss.

    Why it matters: a softmax that has decided passes no gradient back to queries and keys, so that it cannot change its mind.

    Known problems: trained attention may look sharply on purpose; so only a network that does not learn counts. A softmax at
    the network's end is an answer, and not meant.

    Example: query and key weights with a deviation of 1, so that scores are in the hundreds.

    References: Vaswani 2017 (arXiv 1706.03762), section 3.2.1; Zhai 2023, "Attention entropy collapse" (arXiv 2303.06296).
    """

    code: ClassVar[str] = "attention-collapse"
    rank: ClassVar[int] = 34
    explains: ClassVar[frozenset[str]] = frozenset(
        {"loss-not-decreasing", "vanishing-gradient", "off-critical-init", "gradient-noise", "exploding-gradient"}
        | {"learning-rate-too-low", "saturated-activation"}
    )

    def examine(self, view: RunView) -> Iterator[Finding]:
        entropy = view.values("attention_entropy")
        for stack in view.stacks:
            measured = [i for i in stack.sites if np.isfinite(entropy[:, i]).any()]
            attention = [i for i in measured if not _is_output_softmax(view, stack, i)]
            early, late = nanmedian(entropy[:END_ROWS, attention]), nanmedian(entropy[-END_ROWS:, attention])
            is_sharp_throughout = max(finite_median(early), finite_median(late)) <= (SHARP.sure or 0.0)
            if not attention or view.has_learned(stack, (MOSTLY_LEARNED if is_sharp_throughout else HARDLY_LEARNED).value):
                continue
            sharp = [i for i, value in zip(attention, late, strict=True) if value <= SHARP.value]
            even = [i for i, *medians in zip(attention, early, late, strict=True) if min(medians) >= EVEN.value]
            if 2 * len(sharp) >= len(attention):
                if not finite_median(early) <= SHARP.value:
                    cause = "learning-rate-too-high"
                else:
                    cause = "off-critical-init" if _has_large_initial_weights(view, stack) else self.code
                yield self._sharp(view, sharp, finite_median(late), cause)
            elif 2 * len(even) >= len(attention):
                yield self._even(view, even)

    def _sharp(self, view: RunView, sharp: list[int], entropy: float, cause: str) -> Finding:
        sharp_from_start = cause != "learning-rate-too-high"
        series = nanmedian(view.values("attention_entropy")[:, sharp].T)
        return Finding(
            self.code,
            Severity.CRITICAL,
            SHARP.confidence(entropy),
            "The attention looks at one place only, and cannot learn to look elsewhere.",
            f"At {wording.format_names(view.site_labels(sharp))} the weights have {wording.format_percent(entropy)} of the entropy "
            "of an even look"
            + (
                ", from the first step on: the scores start far too large."
                if sharp_from_start
                else ": the scores have grown during training."
            )
            + " A softmax that has decided passes no gradient on.",
            advice="Draw the weights of queries and keys smaller (a deviation of 1 over the root of the width), "
            "or divide the scores by the root of the width."
            if sharp_from_start
            else "Lower the learning rate or warm it up, or normalise queries and keys.",
            sites=view.site_labels(sharp),
            cause=Cause(cause),
            evidence=(SHARP.as_evidence("attention_entropy", entropy, view.structure.site_label(sharp[0])),),
            remedies=("glorot-init", "lecun-init", "learning-rate", "warmup")
            if sharp_from_start
            else ("learning-rate", "warmup", "glorot-init"),
            began=view.first_sampled_step(series <= SHARP.value),
            location=view.location(sharp[0]),
            trend=classify_trend(series, worse=-1, step=0.02),
        )

    def _even(self, view: RunView, even: list[int]) -> Finding:
        entropy = finite_median(view.late_median("attention_entropy")[even])
        return Finding(
            self.code,
            Severity.CRITICAL,
            EVEN_ATTENTION.value,
            "The attention looks everywhere alike, and cannot learn to look anywhere.",
            f"At {wording.format_names(view.site_labels(even))} all places have the same weight at every step. Where queries and "
            "keys are zero, neither gets a gradient from the other.",
            advice="Draw the weights of queries and keys at random (a deviation of 1 over the root of the width).",
            sites=view.site_labels(even),
            cause=Cause("symmetric-init"),
            evidence=(EVEN.as_evidence("attention_entropy", entropy, view.structure.site_label(even[0])),),
            remedies=("glorot-init", "lecun-init", "he-init"),
            began=int(view.run.sampled[0]),
            location=view.location(even[0]),
        )


def _has_large_initial_weights(view: RunView, stack: LayerStack) -> bool:
    """Whether the weights of any layer start far above a sound scale. Embeddings do not count."""
    layers = {p for s in view.structure.sites if s.kind in ("weight", "attention") for p in s.parameters}
    scales = [view.log10_initial_scale_of(i) for i in view.weight_matrices(stack) if i in layers]
    return max((s for s in scales if np.isfinite(s)), default=0.0) > SOUND_FOR_SCORES.value


def _is_output_softmax(view: RunView, stack: LayerStack, index: int) -> bool:
    """Whether a softmax comes after the last layer of its network."""
    site = view.site(index)
    last = max((view.site(i).order for i in stack.layers if view.site(i).network == site.network), default=-1)
    return site.op == "softmax" and site.order > last
