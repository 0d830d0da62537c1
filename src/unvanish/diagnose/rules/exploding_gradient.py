"""exploding-gradient: the gradient grows on its way back, so that the first layers are thrown about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import words
from unvanish.diagnose.chart import Chain, Chart
from unvanish.diagnose.profile import has_paths_around, normalised, profile
from unvanish.diagnose.rule import Rule
from unvanish.record.finding import Cause, Evidence, Finding, Severity

# The mirror image of vanishing: a first layer that gets a thousand times the gradient of the last one.
THRESHOLD = 3.0
SOURCE = "the mirror image of the vanishing ratio, 1e3"
# A signal that grows by a factor of 100 over the depth, while its gradient cannot be measured, has exploded on the way forward.
SIGNAL_GROWTH = 2.0
FIRST_ROWS = 3

REASONS = {
    "missing-normalisation": "Each block adds its output to the stream, and nothing brings the sum back to size",
    "depth-without-path": (
        "Normalisation before each activation makes the squared gradient grow at every layer, and no path leads around"
    ),
    "off-critical-init": "The initial weights are too large for this activation: each layer enlarges the signal and the gradient",
}
REMEDIES = {
    "missing-normalisation": ("batchnorm", "glorot-init"),
    "depth-without-path": (),
    "off-critical-init": ("he-init", "glorot-init", "batchnorm"),
}


@final
class ExplodingGradient(Rule):
    """The gradient at the first layers is a thousand times that at the last ones, from the first steps on.

    Sees: the RMS of the gradient at the output of every layer, relative to the last two, and the size of the signal on its
    way forward. Why it matters: any learning rate that suits the last layers destroys the first ones. Known problems: a loss
    that diverges later, from a sound start, is the learning rate's doing. References: Pascanu 2013 (arXiv 1211.5063);
    Yang 2019 (arXiv 1902.08129) for normalised networks.
    """

    code: ClassVar[str] = "exploding-gradient"
    rank: ClassVar[int] = 20
    explains: ClassVar[frozenset[str]] = frozenset(
        {"loss-not-decreasing", "non-finite", "dead-units", "vanishing-gradient", "learning-rate-too-high", "learning-rate-too-low"}
        | {"saturated-activation"}
    )

    def examine(self, chart: Chart) -> Iterator[Finding]:
        for chain in chart.chains:
            seen = profile(chart, chain)
            if seen is None:
                continue
            first = seen.relative[:FIRST_ROWS]
            gain = float(np.nanmax(first)) if np.isfinite(first).any() else np.nan
            growth = _signal_growth(chart, chain)
            if gain >= THRESHOLD or (not np.isfinite(gain) and growth >= SIGNAL_GROWTH):
                yield self._finding(chart, chain, gain, growth)

    def _finding(self, chart: Chart, chain: Chain, gain: float, growth: float) -> Finding:
        if normalised(chart, chain):
            cause = "depth-without-path"
        else:
            cause = "missing-normalisation" if has_paths_around(chart, chain) else "off-critical-init"
        measured = np.isfinite(gain)
        size = (
            f"grows by {words.decades(gain)}"
            if measured
            else f"cannot be measured: the signal itself grows by {growth:.1f} decades"
        )
        shown = Evidence("gain", gain, "log10", THRESHOLD, SOURCE) if measured else None
        signal = Evidence("signal growth", growth, "log10", SIGNAL_GROWTH, "a factor of 100 from first to last layer")
        return Finding(
            self.code,
            Severity.CRITICAL,
            0.9 if gain >= THRESHOLD + 1 else 0.8,
            "The correction grows out of bounds on its way to the first layers.",
            f"On its way back the gradient {size}. {REASONS[cause]}.",
            advice="Bring the initial weights to scale, or normalise the signal.",
            sites=chart.labels(chain.layers),
            cause=Cause(cause),
            evidence=tuple(e for e in (shown, signal) if e is not None and np.isfinite(e.value)),
            remedies=REMEDIES[cause],
            began=int(chart.run.sampled[0]) if len(chart.run.sampled) else None,
            location=chart.location(chain.layers[0]),
        )


def _signal_growth(chart: Chart, chain: Chain) -> float:
    """log10 of the largest over the first layer's standard deviation, at the first sample; inf where it overflowed."""
    spreads = chart.values("activation_std")[:1, chain.layers]
    overflow = np.nansum(chart.values("nonfinite_count")[:1, chain.layers]) > 0
    if spreads.size == 0 or not np.isfinite(spreads[0, 0]) or spreads[0, 0] <= 0:
        return np.nan
    finite = spreads[np.isfinite(spreads)]
    growth = float(np.log10(finite.max() / spreads[0, 0]))
    return max(growth, SIGNAL_GROWTH) if overflow else growth
