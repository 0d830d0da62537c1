"""The rule gradient-noise: the gradients of consecutive small batches have no common direction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import BY_ELIMINATION, FROM_ONE_STATISTIC
from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView, finite_mean
from unvanish.diagnose.thresholds import AGREEMENT, CONSTANT_REWARD, FEW_EXAMPLES, HARDLY_LEARNED
from unvanish.record.finding import Cause, Finding, Severity

MIN_PAIRS = 6
MIN_STEPS = 30
STANDARD_ERRORS = 2.0  # of a fall that is more than noise


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

    def examine(self, view: RunView) -> Iterator[Finding]:
        for stack in view.stacks:
            batch_size = _batch_size(view, stack)
            agreement = _agreement(view, stack)
            curve = view.loss_curve(stack.objective)
            if agreement is None or batch_size is None or curve is None or curve.steps < MIN_STEPS or not curve.finite:
                continue
            spread = _reward_spread(view, stack)
            if spread is not None and spread <= CONSTANT_REWARD.value and agreement < AGREEMENT.value:
                yield self._constant_reward_finding(view, stack, agreement, spread)
            elif agreement < AGREEMENT.value and batch_size <= FEW_EXAMPLES.value and not _is_learning(view, stack):
                yield self._finding(view, stack, agreement, batch_size)

    def _constant_reward_finding(self, view: RunView, stack: LayerStack, agreement: float, spread: float) -> Finding:
        """The finding of a policy whose rewards are nearly the same for every choice."""
        return Finding(
            self.code,
            Severity.CRITICAL,
            CONSTANT_REWARD.confidence(spread, FROM_ONE_STATISTIC),
            "Every choice is rewarded alike: what tells good ones from bad drowns in the noise of the rest.",
            f"The rewards differ by {wording.format_percent(spread)} of their size. The part that is common to all teaches "
            f"nothing, and its noise outweighs the rest: the gradients of one batch and the next agree by {agreement:.2f} (1 is "
            "the same direction).",
            advice="Subtract a baseline from the rewards: their mean over the batch, or what a critic expects.",
            sites=view.site_labels(stack.layers),
            cause=Cause(self.code),
            evidence=(
                CONSTANT_REWARD.as_evidence("spread of the rewards", spread),
                AGREEMENT.as_evidence("agreement of gradients", agreement),
            ),
            began=int(view.run.sampled[0]),
        )

    def _finding(self, view: RunView, stack: LayerStack, agreement: float, batch_size: float) -> Finding:
        return Finding(
            self.code,
            Severity.CRITICAL,
            min(AGREEMENT.confidence(agreement, BY_ELIMINATION), FEW_EXAMPLES.confidence(batch_size, BY_ELIMINATION)),
            "Every step pulls in another direction: there are too few examples in each to learn from.",
            f"The gradients of one batch and the next agree by {agreement:.2f} (1 is the same direction, 0 none in common), from "
            f"{wording.format_count(batch_size, 'example')} each.",
            advice="Use larger batches, or accumulate over several; in reinforcement learning, more episodes for each update, and "
            "a baseline.",
            sites=view.site_labels(stack.layers),
            cause=Cause(self.code),
            evidence=(
                AGREEMENT.as_evidence("agreement of gradients", agreement),
                FEW_EXAMPLES.as_evidence("examples in a batch", batch_size),
            ),
            remedies=("learning-rate", "sgd-momentum", "clip-norm"),
            began=int(view.run.sampled[0]),
        )


def _reward_spread(view: RunView, stack: LayerStack) -> float | None:
    """Spread of a policy's rewards over their size; None where there is no policy, or they are all the same."""
    for index, head in enumerate(view.structure.heads):
        if head.criterion == "policy" and len(view.stacks) == 1 and stack is view.stacks[0]:
            low, high = view.values("target_low")[:, index], view.values("target_high")[:, index]
            varies = np.isfinite(low) & np.isfinite(high) & (high > low)
            if varies.any():
                size = np.maximum(np.abs(low), np.abs(high))[varies]
                return float(np.median((high - low)[varies] / size))
    return None


def _batch_size(view: RunView, stack: LayerStack) -> float | None:
    sizes = view.values("batch_size")
    columns = [sizes[:, n] for n in stack.networks if n < sizes.shape[1]]
    values = np.concatenate(columns) if columns else np.zeros(0)
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def _agreement(view: RunView, stack: LayerStack) -> float | None:
    """Mean cosine between consecutive samples' gradients over the stack's weight matrices."""
    values = view.values("gradient_agreement")[1:, view.weight_matrices(stack)]
    rows = values[~np.isnan(values).all(axis=1)] if values.size else values
    return finite_mean(rows) if len(rows) >= MIN_PAIRS else None


def _is_learning(view: RunView, stack: LayerStack) -> bool:
    """Whether the stack has learned, or at least its loss has fallen by more than its noise explains."""
    if view.explained_loss(stack) is not None:
        return view.has_learned(stack, HARDLY_LEARNED.value)
    curve = view.loss_curve(stack.objective)
    return curve is not None and curve.fall > max(HARDLY_LEARNED.value, STANDARD_ERRORS * curve.noise)
