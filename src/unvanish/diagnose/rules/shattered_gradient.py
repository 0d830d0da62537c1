"""The rule shattered-gradient: in a deep plain network the gradients of different batches are uncorrelated at the first layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.gradient_profile import gradient_profile, has_normalisation, has_skip_connections
from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import EARLY_ROWS, RunView, finite_mean
from unvanish.diagnose.thresholds import GROWS_BACK, HALF_LEARNED, SHATTERED, SHATTERED_DEPTH
from unvanish.record.finding import Cause, Finding, Severity


@final
class ShatteredGradient(Rule):
    """A deep network of normalised layers without paths around them: at its first layers the gradients of one batch and the
    next have nothing in common, and they grow on their way there.

    Sees: the cosine between the gradients of consecutive sampled steps at the first half of the layers, the gradient's growth,
    the depth, whether modules merge several paths, and the loss.

    Why it matters: normalisation keeps the signal's size and loses its likeness: after many layers two similar inputs are as
    far apart as any, and so are their gradients. The first layers see white noise.

    Known problems: small batches disagree as well; then that is the finding.

    Example: sixty layers of Linear, BatchNorm and ReLU.

    References: Balduzzi 2017 (arXiv 1702.08591); Yang 2019 (arXiv 1902.08129).
    """

    code: ClassVar[str] = "shattered-gradient"
    rank: ClassVar[int] = 19
    explains: ClassVar[frozenset[str]] = frozenset(
        {
            "loss-not-decreasing",
            "learning-rate-too-low",
            "exploding-gradient",
            "gradient-noise",
            "learning-rate-too-high",
            "running-stats-drift",
            "dead-units",
        }
        | {"vanishing-gradient", "overfitting"}
    )

    def examine(self, view: RunView) -> Iterator[Finding]:
        for stack in view.stacks:
            depth = len(stack.layers)
            if depth < SHATTERED_DEPTH.value or not has_normalisation(view, stack) or has_skip_connections(view, stack):
                continue
            agreement, growth = _agreement(view, stack), _growth(view, stack)
            if agreement is None or view.has_learned(stack, HALF_LEARNED.value):
                continue
            if abs(agreement) <= SHATTERED.value and growth >= GROWS_BACK.value:
                yield self._finding(view, stack, agreement, growth)

    def _finding(self, view: RunView, stack: LayerStack, agreement: float, growth: float) -> Finding:
        first = stack.layers[: len(stack.layers) // 2]
        return Finding(
            self.code,
            Severity.CRITICAL,
            SHATTERED.confidence(abs(agreement)),
            "The first layers get white noise for a gradient: the network is too deep without a path around its layers.",
            f"At the first {len(first)} of {len(stack.layers)} layers the gradients of one batch and the next agree by "
            f"{agreement:.2f} (1 is the same direction), and they grow by {wording.format_decades(growth)} on their way there. "
            "Every layer is normalised, which keeps the signal's size and loses its likeness.",
            advice="Let a path lead around every layer or two (a residual connection).",
            sites=view.site_labels(first),
            cause=Cause("depth-without-path"),
            evidence=(
                SHATTERED.as_evidence("agreement of gradients", agreement, view.structure.site_label(first[0])),
                SHATTERED_DEPTH.as_evidence("depth", float(len(stack.layers))),
            ),
            remedies=("residual", "tailored-activation"),
            began=int(view.run.sampled[0]),
            location=view.location(first[0]),
        )


def _agreement(view: RunView, stack: LayerStack) -> float | None:
    """Mean cosine of consecutive early gradients at the weights of the first half of the layers."""
    weight_matrices = set(view.weight_matrices(stack))
    first = [p for i in stack.layers[: len(stack.layers) // 2] for p in view.site(i).parameters if p in weight_matrices]
    values = view.values("gradient_agreement")[1:EARLY_ROWS, first]
    return finite_mean(values) if np.isfinite(values).any() else None


def _growth(view: RunView, stack: LayerStack) -> float:
    """Decades by which the gradient grows from the last to the first layers at the first step, before updates have changed it."""
    profile, examination = gradient_profile(view, stack), view.run.examination
    first = profile.relative[0, : max(1, len(stack.layers) // 4)] if profile is not None and len(profile.relative) else np.zeros(0)
    measured = float(np.nanmax(first, initial=-np.inf)) if np.isfinite(first).any() else -np.inf
    return max(measured, examination.flow.total if examination is not None and np.isfinite(examination.flow.total) else -np.inf)
