"""exploding-gradient: the gradient grows on its way back, so that the first layers are thrown about."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.gradient_profile import has_paths_around, normalised, profile
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import LayerStack, RunView
from unvanish.diagnose.thresholds import (
    EXPLODED,
    HALF_LEARNED,
    LARGE_WEIGHTS,
    SIGNAL_GREW,
    SOUND_FOR_RELU,
    THROWN_START,
    TRACED_GROWTH,
    VISIBLE_GROWTH,
)
from unvanish.record.finding import Cause, Finding, Severity

FIRST_ROWS = 3


REASONS = {
    "exploding-gradient": "The weights are of ordinary size: it is the activation that enlarges the signal, more the larger it is",
    "missing-normalisation": "Each block adds its output to the stream, and nothing brings the sum back to size",
    "depth-without-path": (
        "Normalisation before each activation makes the squared gradient grow at every layer, and no path leads around"
    ),
    "off-critical-init": "The initial weights are too large for this activation: each layer enlarges the signal and the gradient",
}
REMEDIES = {
    "missing-normalisation": ("layernorm", "batchnorm", "zero-init-residual", "residual"),
    "depth-without-path": ("residual", "tailored-activation"),
    "off-critical-init": ("he-init", "glorot-init", "critical-init", "batchnorm", "lsuv-init"),
    "exploding-gradient": ("relu + he-init", "batchnorm", "critical-init", "layernorm", "clip-norm", "elu"),
}


@final
class ExplodingGradient(Rule):
    """The gradient at the first layers is a thousand times that at the last ones, from the first steps on.

    Sees: the RMS of the gradient at the output of every layer, relative to the last two; the size of the signal on its way
    forward; the exact trace of the first step.

    Why it matters: any learning rate that suits the last layers destroys the first ones.

    Known problems: a loss that diverges later, from a sound start, is the learning rate's doing; a first layer that has a
    gradient of its own, from another term of the loss, is no explosion.

    Example: normal weights with a deviation of 0.5 at width 128; fifty residual blocks without normalisation.

    References: Pascanu 2013 (arXiv 1211.5063); Yang 2019 (arXiv 1902.08129) for normalised networks.
    """

    code: ClassVar[str] = "exploding-gradient"
    rank: ClassVar[int] = 20
    explains: ClassVar[frozenset[str]] = frozenset(
        {"loss-not-decreasing", "non-finite", "dead-units", "vanishing-gradient", "learning-rate-too-high", "learning-rate-too-low"}
        | {"saturated-activation"}
    )

    def examine(self, chart: RunView) -> Iterator[Finding]:
        for chain in chart.chains:
            seen = profile(chart, chain)
            if seen is None:
                continue
            first = seen.relative[:FIRST_ROWS]
            gain = float(np.nanmax(first)) if np.isfinite(first).any() else np.nan
            growth = _signal_growth(chart, chain)
            look = chart.run.examination
            if (
                look is not None and look.flow.total < TRACED_GROWTH.value
            ):  # the first layers have a gradient of their own, from another term
                continue
            start = _thrown_start(chart, chain)
            if gain >= EXPLODED.value or (not np.isfinite(gain) and growth >= SIGNAL_GREW.value):
                yield self._finding(chart, chain, gain, growth)
            elif start is not None and min(gain, growth) >= VISIBLE_GROWTH.value and not chart.learned(chain, HALF_LEARNED.value):
                yield self._finding(chart, chain, gain, growth, start)
            elif (start := _grown_stream(chart, chain, growth)) is not None:
                yield self._finding(chart, chain, look.flow.total if look is not None else np.nan, growth, start)
        if all(profile(chart, chain) is None for chain in chart.chains):
            yield from self._through_the_flow(chart)

    def _through_the_flow(self, chart: RunView) -> Iterator[Finding]:
        """Where weights are bare parameters of one module, only the trace knows the layers."""
        seen = chart.run.examination
        if seen is None or seen.flow.times or not seen.flow.total < np.inf:
            return
        start = _thrown_start(chart, chart.chains[0]) if chart.chains else None
        if not seen.flow.total >= (VISIBLE_GROWTH.value if start is not None else EXPLODED.value):
            return
        if chart.chains and chart.course() is not None and chart.learned(chart.chains[0], HALF_LEARNED.value):
            return
        gain = seen.flow.total
        yield Finding(
            self.code,
            Severity.CRITICAL,
            EXPLODED.confidence(gain, most=0.95),
            "The correction grows out of bounds on its way to the first layers.",
            f"Between the output and the input the gradient grows by {wording.decades(gain)}. {REASONS['off-critical-init']}.",
            advice="Bring the initial weights to scale, or normalise the signal.",
            cause=Cause("off-critical-init"),
            evidence=(EXPLODED.shown("gain", gain),),
            remedies=REMEDIES["off-critical-init"],
            began=int(chart.run.sampled[0]),
            location=next((op.location for op in seen.flow.ops if op.visits and op.kind == "weight"), None),
        )

    def _finding(self, chart: RunView, chain: LayerStack, gain: float, growth: float, start: float | None = None) -> Finding:
        if normalised(chart, chain):
            cause = "depth-without-path"
        else:
            cause = "missing-normalisation" if has_paths_around(chart, chain) else "off-critical-init"
            scale = chart.start_scale(chain)
            if cause == "off-critical-init" and scale is not None and scale <= SOUND_FOR_RELU.value:
                cause = self.code
        measured = np.isfinite(gain)
        size = (
            f"grows by {wording.decades(gain)}"
            if measured
            else f"cannot be measured: the signal itself grows by {growth:.1f} decades"
        )
        shown = EXPLODED.shown("gain", gain) if measured else None
        thrown = THROWN_START.shown("first loss over that of a constant answer", start) if start is not None else None
        signal = SIGNAL_GREW.shown("signal growth", growth)
        return Finding(
            self.code,
            Severity.CRITICAL,
            EXPLODED.confidence(gain, most=0.95),
            "The correction grows out of bounds on its way to the first layers.",
            f"On its way back the gradient {size}. {REASONS[cause]}.",
            advice="Bring the initial weights to scale, or normalise the signal.",
            sites=chart.labels(chain.layers),
            cause=Cause(cause),
            evidence=tuple(e for e in (thrown, shown, signal) if e is not None and np.isfinite(e.value)),
            remedies=REMEDIES[cause],
            began=int(chart.run.sampled[0]) if len(chart.run.sampled) else None,
            location=chart.location(chain.layers[0]),
        )


def _thrown_start(chart: RunView, chain: LayerStack) -> float | None:
    """log10 of the first loss over that of the best constant answer, where weights far larger than a sound start has made it so."""
    scale = chart.start_scale(chain)
    return None if scale is None or scale <= LARGE_WEIGHTS.value else _start(chart, chain)


def _grown_stream(chart: RunView, chain: LayerStack, growth: float) -> float | None:
    """log10 of the first loss over that of the best constant answer, where residual branches, summed without normalisation, have
    made it so in a network that has learned little since."""
    if not growth >= VISIBLE_GROWTH.value or normalised(chart, chain) or not has_paths_around(chart, chain):
        return None
    return None if chart.learned(chain, HALF_LEARNED.value) else _start(chart, chain)


def _start(chart: RunView, chain: LayerStack) -> float | None:
    """log10 of the first loss over that of the best constant answer, where that is no sound start."""
    heads = chart.heads(chain)
    if len(heads) != 1:
        return None
    loss, constant = chart.values("loss")[0, heads[0]], chart.values("constant_loss")[:, heads[0]]
    known = constant[np.isfinite(constant)]
    if not (np.isfinite(loss) and loss > 0 and len(known) and known[-1] > 0):
        return None
    over = float(np.log10(loss / known[-1]))
    return over if over >= THROWN_START.value else None


def _signal_growth(chart: RunView, chain: LayerStack) -> float:
    """log10 of the largest over the first layer's standard deviation, at the first sample; inf where it overflowed."""
    spreads = chart.values("activation_std")[:1, chain.layers]
    overflow = np.nansum(chart.values("nonfinite_count")[:1, chain.layers]) > 0
    if spreads.size == 0 or not np.isfinite(spreads[0, 0]) or spreads[0, 0] <= 0:
        return np.nan
    finite = spreads[np.isfinite(spreads)]
    growth = float(np.log10(finite.max() / spreads[0, 0]))
    return max(growth, SIGNAL_GREW.value) if overflow and growth >= VISIBLE_GROWTH.value else growth
