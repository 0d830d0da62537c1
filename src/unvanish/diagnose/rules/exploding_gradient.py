"""The rule exploding-gradient: the gradient grows from the last layers to the first by a thousand or more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import SHARED_SYMPTOM
from unvanish.diagnose.gradient_profile import gradient_profile, has_normalisation, has_skip_connections
from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
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

EARLIEST_ROWS = 3

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

    def examine(self, view: RunView) -> Iterator[Finding]:
        for stack in view.stacks:
            profile = gradient_profile(view, stack)
            if profile is None:
                continue
            first = profile.relative[:EARLIEST_ROWS]
            gain = float(np.nanmax(first)) if np.isfinite(first).any() else np.nan
            growth = _signal_growth(view, stack)
            examination = view.run.examination
            traced = examination.flow.total if examination is not None else np.nan
            if traced < TRACED_GROWTH.value:  # the first layers have a gradient of their own, from another term of the loss
                continue
            first_loss_ratio = _first_loss_from_large_weights(view, stack)
            if gain >= EXPLODED.value or (not np.isfinite(gain) and growth >= SIGNAL_GREW.value):
                yield self._finding(view, stack, gain, growth)
            elif (
                first_loss_ratio is not None
                and min(gain, growth) >= VISIBLE_GROWTH.value
                and not view.has_learned(stack, HALF_LEARNED.value)
            ):
                yield self._finding(view, stack, gain, growth, first_loss_ratio)
            elif (first_loss_ratio := _first_loss_from_residual_growth(view, stack, growth)) is not None:
                yield self._finding(view, stack, traced, growth, first_loss_ratio)
        if all(gradient_profile(view, stack) is None for stack in view.stacks):
            yield from self._from_trace(view)

    def _from_trace(self, view: RunView) -> Iterator[Finding]:
        """The finding of a network whose weights are bare parameters of one module, which only the trace tells apart."""
        examination = view.run.examination
        if examination is None or examination.flow.times or not examination.flow.total < np.inf:
            return
        first_loss_ratio = _first_loss_from_large_weights(view, view.stacks[0]) if view.stacks else None
        if not examination.flow.total >= (VISIBLE_GROWTH.value if first_loss_ratio is not None else EXPLODED.value):
            return
        if view.stacks and view.loss_curve() is not None and view.has_learned(view.stacks[0], HALF_LEARNED.value):
            return
        gain = examination.flow.total
        yield Finding(
            self.code,
            Severity.CRITICAL,
            EXPLODED.confidence(gain, SHARED_SYMPTOM),
            "The correction grows out of bounds on its way to the first layers.",
            f"Between the output and the input the gradient grows by {wording.format_decades(gain)}. "
            f"{REASONS['off-critical-init']}.",
            advice="Bring the initial weights to scale, or normalise the signal.",
            cause=Cause("off-critical-init"),
            evidence=(EXPLODED.as_evidence("gain", gain),),
            remedies=REMEDIES["off-critical-init"],
            began=int(view.run.sampled[0]),
            location=next((op.location for op in examination.flow.ops if op.visits and op.kind == "weight"), None),
        )

    def _finding(
        self, view: RunView, stack: LayerStack, gain: float, growth: float, first_loss_ratio: float | None = None
    ) -> Finding:
        if has_normalisation(view, stack):
            cause = "depth-without-path"
        else:
            cause = "missing-normalisation" if has_skip_connections(view, stack) else "off-critical-init"
            scale = view.log10_initial_scale(stack)
            if cause == "off-critical-init" and scale is not None and scale <= SOUND_FOR_RELU.value:
                cause = self.code
        is_measured = np.isfinite(gain)
        size = (
            f"grows by {wording.format_decades(gain)}"
            if is_measured
            else f"cannot be measured: the signal itself grows by {growth:.1f} decades"
        )
        gain_evidence = EXPLODED.as_evidence("gain", gain) if is_measured else None
        first_loss = (
            THROWN_START.as_evidence("first loss over that of a constant answer", first_loss_ratio)
            if first_loss_ratio is not None
            else None
        )
        growth_evidence = SIGNAL_GREW.as_evidence("signal growth", growth)
        return Finding(
            self.code,
            Severity.CRITICAL,
            EXPLODED.confidence(gain, SHARED_SYMPTOM),
            "The correction grows out of bounds on its way to the first layers.",
            f"On its way back the gradient {size}. {REASONS[cause]}.",
            advice="Bring the initial weights to scale, or normalise the signal.",
            sites=view.site_labels(stack.layers),
            cause=Cause(cause),
            evidence=tuple(e for e in (first_loss, gain_evidence, growth_evidence) if e is not None and np.isfinite(e.value)),
            remedies=REMEDIES[cause],
            began=int(view.run.sampled[0]) if len(view.run.sampled) else None,
            location=view.location(stack.layers[0]),
        )


def _first_loss_from_large_weights(view: RunView, stack: LayerStack) -> float | None:
    """log10 of the first loss over that of the best constant answer, where the weights start far too large."""
    scale = view.log10_initial_scale(stack)
    return None if scale is None or scale <= LARGE_WEIGHTS.value else _first_loss_ratio(view, stack)


def _first_loss_from_residual_growth(view: RunView, stack: LayerStack, growth: float) -> float | None:
    """log10 of the first loss over that of the best constant answer, where residual sums without normalisation make it large.

    None where the network has learned half of its task since.
    """
    if not growth >= VISIBLE_GROWTH.value or has_normalisation(view, stack) or not has_skip_connections(view, stack):
        return None
    return None if view.has_learned(stack, HALF_LEARNED.value) else _first_loss_ratio(view, stack)


def _first_loss_ratio(view: RunView, stack: LayerStack) -> float | None:
    """log10 of the first loss over that of the best constant answer; None where it is within the bounds of a sound start."""
    heads = view.heads(stack)
    if len(heads) != 1:
        return None
    loss, constant = view.values("loss")[0, heads[0]], view.values("constant_loss")[:, heads[0]]
    known = constant[np.isfinite(constant)]
    if not (np.isfinite(loss) and loss > 0 and len(known) and known[-1] > 0):
        return None
    log10_ratio = float(np.log10(loss / known[-1]))
    return log10_ratio if log10_ratio >= THROWN_START.value else None


def _signal_growth(view: RunView, stack: LayerStack) -> float:
    """log10 of the largest over the first layer's standard deviation, at the first sample; inf where it overflowed."""
    spreads = view.values("activation_std")[:1, stack.layers]
    overflow = np.nansum(view.values("nonfinite_count")[:1, stack.layers]) > 0
    if spreads.size == 0 or not np.isfinite(spreads[0, 0]) or spreads[0, 0] <= 0:
        return np.nan
    finite = spreads[np.isfinite(spreads)]
    growth = float(np.log10(finite.max() / spreads[0, 0]))
    return max(growth, SIGNAL_GREW.value) if overflow and growth >= VISIBLE_GROWTH.value else growth
