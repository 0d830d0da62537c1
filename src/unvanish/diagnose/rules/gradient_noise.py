"""gradient-noise: from so few examples the gradient points somewhere else at every step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import LayerStack, RunView, mean
from unvanish.diagnose.thresholds import AGREEMENT, CONSTANT_REWARD, FEW_EXAMPLES, HARDLY_LEARNED
from unvanish.record.finding import Cause, Finding, Severity

FEWEST_PAIRS = 6
MANY_STEPS = 30
NOISES = 2.0


@final
class GradientNoise(Rule):
    """The gradients of consecutive small batches have nothing in common, and nothing is learned.

    Sees: the cosine between the gradients of one sampled step and the next, the size of a batch, and the loss.

    Why it matters: what the steps have in common is what they teach. Where it is next to nothing, they cancel each other, and a
    smaller learning rate only makes the wait longer.

    Known problems: late in a good training gradients disagree too, since nothing is left to agree on; so a network that learns
    is left alone, and so are batches of more than a few examples, where disagreement has other causes.

    Example: a policy gradient from one noisy episode an update.

    References: McCandlish 2018, "An empirical model of large-batch training" (arXiv 1812.06162).
    """

    code: ClassVar[str] = "gradient-noise"
    rank: ClassVar[int] = 70
    explains: ClassVar[frozenset[str]] = frozenset({"loss-not-decreasing", "degenerate-labels", "underfitting"})
    last_resort: ClassVar[bool] = True

    def examine(self, chart: RunView) -> Iterator[Finding]:
        for chain in chart.chains:
            batch = _batch(chart, chain)
            agreement = _agreement(chart, chain)
            course = chart.course(chain.objective)
            if agreement is None or batch is None or course is None or course.steps < MANY_STEPS or not course.finite:
                continue
            offset = _constant_reward(chart, chain)
            if offset is not None and offset <= CONSTANT_REWARD.value and agreement < AGREEMENT.value:
                yield self._rewarded(chart, chain, agreement, offset)
            elif agreement < AGREEMENT.value and batch <= FEW_EXAMPLES.value and not _learns(chart, chain):
                yield self._finding(chart, chain, agreement, batch)

    def _rewarded(self, chart: RunView, chain: LayerStack, agreement: float, offset: float) -> Finding:
        """The rewards of a policy are nearly the same for every choice."""
        return Finding(
            self.code,
            Severity.CRITICAL,
            CONSTANT_REWARD.confidence(offset, least=0.75, most=0.9),
            "Every choice is rewarded alike: what tells good ones from bad drowns in the noise of the rest.",
            f"The rewards differ by {wording.percent(offset)} of their size. The part that is common to all teaches nothing, and "
            "its "
            "noise outweighs the rest: "
            f"the gradients of one batch and the next agree by {agreement:.2f} (1 is the same direction).",
            advice="Subtract a baseline from the rewards: their mean over the batch, or what a critic expects.",
            sites=chart.labels(chain.layers),
            cause=Cause(self.code),
            evidence=(CONSTANT_REWARD.shown("spread of the rewards", offset), AGREEMENT.shown("agreement of gradients", agreement)),
            began=int(chart.run.sampled[0]),
        )

    def _finding(self, chart: RunView, chain: LayerStack, agreement: float, batch: float) -> Finding:
        return Finding(
            self.code,
            Severity.CRITICAL,
            min(AGREEMENT.confidence(agreement, least=0.7, most=0.9), FEW_EXAMPLES.confidence(batch, least=0.7, most=0.9)),
            "Every step pulls in another direction: there are too few examples in each to learn from.",
            f"The gradients of one batch and the next agree by {agreement:.2f} (1 is the same direction, 0 none in common), from "
            f"{wording.count(batch, 'example')} each.",
            advice="Use larger batches, or accumulate over several; in reinforcement learning, more episodes for each update, and "
            "a baseline.",
            sites=chart.labels(chain.layers),
            cause=Cause(self.code),
            evidence=(AGREEMENT.shown("agreement of gradients", agreement), FEW_EXAMPLES.shown("examples in a batch", batch)),
            remedies=("learning-rate", "sgd-momentum", "clip-norm"),
            began=int(chart.run.sampled[0]),
        )


def _constant_reward(chart: RunView, chain: LayerStack) -> float | None:
    """Spread of a policy's rewards over their size; None where there is no policy, or they are all the same."""
    for index, head in enumerate(chart.anatomy.heads):
        if head.criterion == "policy" and len(chart.chains) == 1 and chain is chart.chains[0]:
            low, high = chart.values("target_low")[:, index], chart.values("target_high")[:, index]
            several = np.isfinite(low) & np.isfinite(high) & (high > low)
            if several.any():
                size = np.maximum(np.abs(low), np.abs(high))[several]
                return float(np.median((high - low)[several] / size))
    return None


def _batch(chart: RunView, chain: LayerStack) -> float | None:
    sizes = chart.values("batch_size")
    known = [sizes[:, n] for n in chain.networks if n < sizes.shape[1]]
    values = np.concatenate(known) if known else np.zeros(0)
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def _agreement(chart: RunView, chain: LayerStack) -> float | None:
    """Mean cosine between consecutive samples' gradients over the chain's weight matrices."""
    values = chart.values("gradient_agreement")[1:, chart.matrices(chain)]
    rows = values[~np.isnan(values).all(axis=1)] if values.size else values
    return mean(rows) if len(rows) >= FEWEST_PAIRS else None


def _learns(chart: RunView, chain: LayerStack) -> bool:
    """Whether the chain has learned, or at least its loss has fallen by more than its noise explains."""
    if chart.skill(chain) is not None:
        return chart.learned(chain, HARDLY_LEARNED.value)
    course = chart.course(chain.objective)
    return course is not None and course.fall > max(HARDLY_LEARNED.value, NOISES * course.noise)
