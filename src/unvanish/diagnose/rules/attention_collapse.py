"""attention-collapse: attention looks at a single place, so that no gradient tells it to look elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import LayerStack, RunView, nanmedian, typical
from unvanish.diagnose.thresholds import EVEN, HARDLY_LEARNED, MOSTLY_LEARNED, SHARP, SOUND_FOR_SCORES
from unvanish.diagnose.trend import trend
from unvanish.record.finding import Cause, Finding, Severity

FIRST_ROWS = 3


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

    def examine(self, chart: RunView) -> Iterator[Finding]:
        entropy = chart.values("attention_entropy")
        for chain in chart.chains:
            looking = [i for i in chain.sites if np.isfinite(entropy[:, i]).any() and not _is_answer(chart, chain, i)]
            early, late = nanmedian(entropy[:FIRST_ROWS, looking]), nanmedian(entropy[-FIRST_ROWS:, looking])
            decided = max(typical(early), typical(late)) <= (SHARP.sure or 0.0)  # from the start to the end
            if not looking or chart.learned(chain, MOSTLY_LEARNED.value if decided else HARDLY_LEARNED.value):
                continue
            sharp = [i for i, value in zip(looking, late, strict=True) if value <= SHARP.value]
            even = [i for i, *both in zip(looking, early, late, strict=True) if min(both) >= EVEN.value]
            if 2 * len(sharp) >= len(looking):
                born = typical(early) <= SHARP.value
                cause = "learning-rate-too-high" if not born else "off-critical-init" if _large(chart, chain) else self.code
                yield self._sharp(chart, sharp, typical(late), cause)
            elif 2 * len(even) >= len(looking):
                yield self._even(chart, even)

    def _sharp(self, chart: RunView, sharp: list[int], entropy: float, cause: str) -> Finding:
        born = cause != "learning-rate-too-high"
        series = nanmedian(chart.values("attention_entropy")[:, sharp].T)
        return Finding(
            self.code,
            Severity.CRITICAL,
            SHARP.confidence(entropy, least=0.8),
            "The attention looks at one place only, and cannot learn to look elsewhere.",
            f"At {wording.span(chart.labels(sharp))} the weights have {wording.percent(entropy)} of the entropy of an even look"
            + (", from the first step on: the scores start far too large." if born else ": the scores have grown during training.")
            + " A softmax that has decided passes no gradient on.",
            advice="Draw the weights of queries and keys smaller (a deviation of 1 over the root of the width), "
            "or divide the scores by the root of the width."
            if born
            else "Lower the learning rate or warm it up, or normalise queries and keys.",
            sites=chart.labels(sharp),
            cause=Cause(cause),
            evidence=(SHARP.shown("attention_entropy", entropy, chart.anatomy.site_label(sharp[0])),),
            remedies=("glorot-init", "lecun-init", "learning-rate", "warmup")
            if born
            else ("learning-rate", "warmup", "glorot-init"),
            began=chart.sampled_step(series <= SHARP.value),
            location=chart.location(sharp[0]),
            trend=trend(series, worse=-1, step=0.02),
        )

    def _even(self, chart: RunView, even: list[int]) -> Finding:
        entropy = typical(chart.late("attention_entropy")[even])
        return Finding(
            self.code,
            Severity.CRITICAL,
            0.85,
            "The attention looks everywhere alike, and cannot learn to look anywhere.",
            f"At {wording.span(chart.labels(even))} all places have the same weight at every step. Where queries and keys are "
            "zero, neither gets a "
            "gradient from the other.",
            advice="Draw the weights of queries and keys at random (a deviation of 1 over the root of the width).",
            sites=chart.labels(even),
            cause=Cause("symmetric-init"),
            evidence=(EVEN.shown("attention_entropy", entropy, chart.anatomy.site_label(even[0])),),
            remedies=("glorot-init", "lecun-init", "he-init"),
            began=int(chart.run.sampled[0]),
            location=chart.location(even[0]),
        )


def _large(chart: RunView, chain: LayerStack) -> bool:
    """Whether the weights of any layer start far larger than a sound start has them. Embeddings are none."""
    layers = {p for s in chart.anatomy.sites if s.kind in ("weight", "attention") for p in s.parameters}
    scales = [chart.scale_at_start(i) for i in chart.matrices(chain) if i in layers]
    return max((s for s in scales if np.isfinite(s)), default=0.0) > SOUND_FOR_SCORES.value


def _is_answer(chart: RunView, chain: LayerStack, index: int) -> bool:
    """Whether a softmax comes after the last layer of its network, as the answer does."""
    site = chart.site(index)
    last = max((chart.site(i).order for i in chain.layers if chart.site(i).network == site.network), default=-1)
    return site.op == "softmax" and site.order > last
