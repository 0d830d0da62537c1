"""shattered-gradient: in a deep plain network the gradients of different batches have nothing in common at the first layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.gradient_profile import has_paths_around, normalised, profile
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import EARLY_ROWS, LayerStack, RunView, mean
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

    def examine(self, chart: RunView) -> Iterator[Finding]:
        for chain in chart.chains:
            depth = len(chain.layers)
            if depth < SHATTERED_DEPTH.value or not normalised(chart, chain) or has_paths_around(chart, chain):
                continue
            agreement, growth = _agreement(chart, chain), _growth(chart, chain)
            if agreement is None or chart.learned(chain, HALF_LEARNED.value):
                continue
            if abs(agreement) <= SHATTERED.value and growth >= GROWS_BACK.value:
                yield self._finding(chart, chain, agreement, growth)

    def _finding(self, chart: RunView, chain: LayerStack, agreement: float, growth: float) -> Finding:
        first = chain.layers[: len(chain.layers) // 2]
        return Finding(
            self.code,
            Severity.CRITICAL,
            SHATTERED.confidence(abs(agreement), least=0.8),
            "The first layers get white noise for a gradient: the network is too deep without a path around its layers.",
            f"At the first {len(first)} of {len(chain.layers)} layers the gradients of one batch and the next agree by "
            f"{agreement:.2f} (1 is the "
            f"same direction), and they grow by {wording.decades(growth)} on their way there. Every layer is normalised, "
            "which keeps the signal's "
            "size and loses its likeness.",
            advice="Let a path lead around every layer or two (a residual connection).",
            sites=chart.labels(first),
            cause=Cause("depth-without-path"),
            evidence=(
                SHATTERED.shown("agreement of gradients", agreement, chart.anatomy.site_label(first[0])),
                SHATTERED_DEPTH.shown("depth", float(len(chain.layers))),
            ),
            remedies=("residual", "tailored-activation"),
            began=int(chart.run.sampled[0]),
            location=chart.location(first[0]),
        )


def _agreement(chart: RunView, chain: LayerStack) -> float | None:
    """Mean cosine of consecutive early gradients at the weights of the first half of the layers."""
    owned = set(chart.matrices(chain))
    first = [p for i in chain.layers[: len(chain.layers) // 2] for p in chart.site(i).parameters if p in owned]
    values = chart.values("gradient_agreement")[1:EARLY_ROWS, first]
    return mean(values) if np.isfinite(values).any() else None


def _growth(chart: RunView, chain: LayerStack) -> float:
    """Decades by which the gradient of the first step grows on its way to the first layers; later steps may have thrown it
    about."""
    seen, look = profile(chart, chain), chart.run.examination
    first = seen.relative[0, : max(1, len(chain.layers) // 4)] if seen is not None and len(seen.relative) else np.zeros(0)
    own = float(np.nanmax(first, initial=-np.inf)) if np.isfinite(first).any() else -np.inf
    return max(own, look.flow.total if look is not None and np.isfinite(look.flow.total) else -np.inf)
