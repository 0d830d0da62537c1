"""The rule vanishing-gradient: the gradient at the first layers is a thousandth or less of that at the last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import FROM_ONE_STATISTIC, MEASURED_FAULT, NO_HARM_SEEN, SATURATED_BY_OTHER_NETWORK
from unvanish.diagnose.gradient_profile import (
    SATURATING,
    GradientProfile,
    activation_share,
    gradient_profile,
    has_normalisation,
    has_skip_connections,
    is_blocked_by_zero_weight,
)
from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.plateau import count_plateau_steps
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import EARLY_ROWS, RunView, log10_ratio
from unvanish.diagnose.thresholds import (
    HARDLY_LEARNED,
    LATE_START,
    NOTHING_LEARNED,
    SATURATED_OUTPUT,
    STANDSTILL,
    VANISHED,
    WELL_LEARNED,
)
from unvanish.diagnose.trend import classify_trend
from unvanish.record.finding import Cause, Finding, Severity

# Kinds of operations whose loss of gradient is no fault: they select or spread numbers, as taking one time step does.
REARRANGING = frozenset({"size", "pooling", "other", "embedding", "loss"})

REMEDIES = {
    "saturating-activation": ("relu + he-init", "batchnorm", "elu", "tailored-activation", "glorot-init + batchnorm", "selu"),
    "off-critical-init": ("he-init", "critical-init", "batchnorm", "orthogonal-init", "glorot-init"),
    "depth-without-path": ("pre-norm", "residual", "tailored-activation", "batchnorm"),
}
SLOPE_LIMITS = {
    "sigmoid": "Every sigmoid passes on at most a quarter of the gradient",
    "tanh": "A tanh passes on less of the gradient the further its input is from zero",
    "softmax": "A softmax over many units passes on a share of the gradient that shrinks with their number",
}
REASONS = {
    "saturating-activation": "The layers multiply the gradient by its slope once more each",
    "off-critical-init": "The initial weights are too small for this activation: each layer shrinks the signal and the gradient",
    "depth-without-path": "The layers are normalised, but the gradient has no undisturbed path around them",
}


@final
class VanishingGradient(Rule):
    """The gradient at the first layers is a thousandth or less of that at the last ones, and stays so, or does until a good part
    of the run is over.

    Sees: the RMS of the loss's gradient at the output of every layer, relative to the last two; the exact trace of the first
    step, whose shares decide between causes; how much is learned.

    Why it matters: these layers keep the weights they were born with, so the network works with random features.

    Known problems: an optimizer that rescales each gradient (Adam) hides the size but not the noise; a moderate ratio in a
    network that learns does no harm; recurrent networks lose it through time, which is another finding.

    Example: ten sigmoid layers at PyTorch's default start.

    References: Hochreiter 1991; Glorot and Bengio 2010; Schoenholz 2017 (arXiv 1611.01232).
    """

    code: ClassVar[str] = "vanishing-gradient"
    rank: ClassVar[int] = 40
    explains: ClassVar[frozenset[str]] = frozenset(
        {"loss-not-decreasing", "learning-rate-too-low", "learning-rate-too-high", "dead-units"}
    )

    def examine(self, view: RunView) -> Iterator[Finding]:
        for stack in view.stacks:
            finding = self._through_depth(view, stack) or self._through_another_network(view, stack)
            if finding is not None:
                yield finding
        if all(gradient_profile(view, stack) is None for stack in view.stacks):
            yield from self._from_trace(view)

    def _through_depth(self, view: RunView, stack: LayerStack) -> Finding | None:
        profile = gradient_profile(view, stack)
        if profile is None:
            return None
        late = profile.late_median
        lost = profile.at_input(late)
        if profile.at_input(profile.early_median) <= VANISHED.value < lost:
            return self._late_start(view, stack, profile)
        if not lost <= VANISHED.value or (
            view.run.checked and (is_blocked_by_zero_weight(view) or _opens_with_first_step(view, lost))
        ):
            return None
        starved = [i for i, value in zip(stack.layers, late, strict=True) if value <= VANISHED.value]
        rows = slice(0, EARLY_ROWS) if profile.at_input(profile.early_median) <= VANISHED.value else slice(-3, None)
        cause, share = _cause(view, stack, activation_share(view, stack, lost, rows))
        is_stuck = view.loss_curve(stack.objective) is None or not _is_learning(view, stack)
        is_vanished = profile.relative[:, : max(1, len(stack.layers) // 4)].min(axis=1) <= VANISHED.value
        saturating_site = next((i for i in stack.activations if view.site(i).op in SATURATING), starved[0])
        return Finding(
            self.code,
            _severity(lost, is_stuck=is_stuck),
            _confidence(lost, is_stuck=is_stuck),
            f"{wording.format_first_layers_are(len(starved), len(stack.layers))} not learning.",
            self._why(view, stack, cause, share, lost),
            advice=_advice(cause),
            sites=view.site_labels(starved),
            cause=Cause(cause, share),
            evidence=(
                VANISHED.as_evidence("gain", lost, view.structure.site_label(starved[0])),
                VANISHED.as_evidence("gain at the start", profile.at_input(profile.early_median)),
            ),
            remedies=REMEDIES[cause],
            began=view.first_sampled_step(is_vanished),
            trend=classify_trend(profile.relative[:, 0], worse=-1, step=0.3),
            location=view.location(saturating_site if cause == "saturating-activation" else starved[0]),
        )

    def _late_start(self, view: RunView, stack: LayerStack, profile: GradientProfile) -> Finding | None:
        """The finding of layers that get their gradient late, where the network has not learned all it could by the end."""
        steps, losses = view.run.objective(stack.objective)
        explained, lost = view.explained_loss(stack), profile.at_input(profile.early_median)
        if (
            explained is None
            or explained >= WELL_LEARNED.value
            or not len(losses)
            or not np.isfinite(losses).all()
            or is_blocked_by_zero_weight(view)
        ):
            return None
        plateau_steps = count_plateau_steps(losses)
        if not LATE_START.value * len(losses) <= plateau_steps < len(losses):
            return None
        starved = [i for i, value in zip(stack.layers, profile.early_median, strict=True) if value <= VANISHED.value]
        cause, share = _cause(view, stack, activation_share(view, stack, lost, slice(0, EARLY_ROWS)))
        return Finding(
            self.code,
            Severity.WARNING,
            LATE_START.confidence(plateau_steps / len(losses), FROM_ONE_STATISTIC),
            f"{wording.format_first_layers(len(starved), len(stack.layers))} got no gradient to learn from for the first "
            f"{plateau_steps} of {len(losses)} steps.",
            f"{self._why(view, stack, cause, share, lost)} The loss stood still until the weights had grown; by the end "
            f"{wording.format_percent(max(0.0, explained))} of what there is to learn is learned.",
            advice=_advice(cause),
            sites=view.site_labels(starved),
            cause=Cause(cause, share),
            evidence=(
                VANISHED.as_evidence("gain at the start", lost),
                LATE_START.as_evidence("share of the run", plateau_steps / len(losses)),
            ),
            remedies=REMEDIES[cause],
            began=int(steps[0]),
            location=view.location(starved[0]),
        )

    def _from_trace(self, view: RunView) -> Iterator[Finding]:
        """The finding of a network whose weights are bare parameters of one module, which only the trace tells apart."""
        examination, curve = view.run.examination, view.loss_curve()
        if (
            examination is None
            or examination.flow.times
            or is_blocked_by_zero_weight(view)
            or (curve is not None and view.stacks and _is_learning(view, view.stacks[0]))
        ):
            return
        flow = examination.flow
        shares = flow.shares("kind")
        lost = sum(decades for kind, decades in shares.items() if kind not in REARRANGING)
        if not lost <= VANISHED.value:
            return
        taken = sum(op.decades for op in flow.ops if op.visits and op.op in SATURATING)
        share = min(max(taken / lost, 0.0), 1.0) if np.isfinite(lost) else 0.0
        cause = "saturating-activation" if share >= 0.5 else "off-critical-init"
        yield Finding(
            self.code,
            _severity(lost, is_stuck=True),
            _confidence(lost, is_stuck=True),
            "The first layers are not learning.",
            f"Between the output and the input, {wording.format_decades(lost)} of the gradient are lost "
            f"({wording.format_remainder(lost)} arrives). {REASONS[cause]}.",
            advice=_advice(cause),
            cause=Cause(cause, share if cause == "saturating-activation" else 1 - share),
            evidence=(VANISHED.as_evidence("gain", lost),),
            remedies=REMEDIES[cause],
            began=int(view.run.sampled[0]),
            location=next((op.location for op in flow.ops if op.visits and op.kind in ("weight", "activation")), None),
        )

    def _why(self, view: RunView, stack: LayerStack, cause: str, share: float, lost: float) -> str:
        first = view.site_labels(stack.layers[:1])[0]
        ops = sorted({view.site(i).op for i in stack.activations if view.site(i).op in SATURATING})
        taken = (
            f"Between the last layers and {wording.format_place(first)}, {wording.format_decades(lost)} of the gradient "
            f"{'is' if np.isinf(lost) else 'are'} lost ({wording.format_remainder(lost)} arrives)"
        )
        if cause == "saturating-activation":
            slope_limits = "; ".join(SLOPE_LIMITS[op] for op in ops if op in SLOPE_LIMITS)
            share_sentence = f"the {' and '.join(ops)} takes {wording.format_percent(share)} of them"
            return f"{taken}: {share_sentence}. {slope_limits or REASONS[cause]}.{_prediction_sentence(view)}"
        return f"{taken}. {REASONS[cause]}.{_prediction_sentence(view)}"

    def _through_another_network(self, view: RunView, stack: LayerStack) -> Finding | None:
        """The finding of a network that learns through the saturated output of another one, as a GAN's generator does."""
        update_ratio = _log10_update_ratio(view, stack)
        for other in view.stacks:
            output = next((i for i in reversed(other.activations) if view.site(i).op in SATURATING), None)
            if other is stack or output is None or update_ratio is None or not update_ratio <= STANDSTILL.value:
                continue
            saturated = float(view.late_median("saturated_fraction")[output])
            if saturated < SATURATED_OUTPUT.value or _log10_update_ratio(view, other) is None:
                continue
            name = view.structure.site_label(output)
            return Finding(
                self.code,
                Severity.CRITICAL,
                SATURATED_BY_OTHER_NETWORK.value,
                f"One of the networks has stopped learning: the other one's output, {name}, lets no gradient through.",
                f"{wording.format_percent(saturated)} of the values at {name} lie where its slope is under a twentieth of the "
                "steepest. The gradient of the network that learns through it dies there: its weights change by "
                f"10^{update_ratio:.1f} of their size.",
                advice="Use a loss on the logits that does not saturate, such as -log D in place of log(1 - D).",
                sites=view.site_labels(stack.layers),
                cause=Cause("saturating-activation", 1.0),
                evidence=(
                    SATURATED_OUTPUT.as_evidence("saturated_fraction", saturated, name),
                    STANDSTILL.as_evidence("relative update", update_ratio),
                ),
                location=view.location(output),
            )
        return None


def _cause(view: RunView, stack: LayerStack, activations: float) -> tuple[str, float]:
    """The code of the cause and its share, where saturating activations take the share `activations`."""
    if activations >= 0.5:
        return "saturating-activation", activations
    has_path = has_normalisation(view, stack) or has_skip_connections(view, stack)
    return "depth-without-path" if has_path else "off-critical-init", 1 - activations


def _prediction_sentence(view: RunView) -> str:
    """The decades that theory predicted, as one more sentence; "" where it predicted none."""
    examination = view.run.examination
    prediction = examination.prediction if examination is not None else None
    if prediction is None or prediction.decades is None:
        return ""
    decades = wording.format_decades(prediction.decades)
    return f" Theory expects {decades} between the output and the input at this depth and initialisation."


def _is_learning(view: RunView, stack: LayerStack) -> bool:
    """Whether the loss falls, and by enough to show that the ratio does no harm."""
    curve = view.loss_curve(stack.objective)
    loss_fell = curve is not None and curve.fall >= HARDLY_LEARNED.value
    explained = view.explained_loss(stack)
    return loss_fell and (explained is None or explained >= NOTHING_LEARNED.value)


def _log10_update_ratio(view: RunView, stack: LayerStack) -> float | None:
    """Median log10 of update over weight at the late samples, over the weight matrices of the stack's layers, whoever owns them."""
    ratio = log10_ratio(view.late_median("log10_update_rms"), view.late_median("log10_weight_rms"))
    weight_matrices = [i for i in stack.layers for i in view.site(i).parameters if len(view.parameter(i).shape) > 1]
    values = ratio[weight_matrices] if weight_matrices else np.array([])
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def _opens_with_first_step(view: RunView, lost: float) -> bool:
    """Whether layers get exactly nothing while the input gets its share, as in branches that open with the first step."""
    examination = view.run.examination
    return (
        bool(np.isneginf(lost))
        and examination is not None
        and examination.flow.target == "input"
        and examination.flow.total > VANISHED.value
    )


def _severity(lost: float, *, is_stuck: bool) -> Severity:
    """A loss that falls shows that a moderate ratio does no harm."""
    if is_stuck:
        return Severity.CRITICAL
    return Severity.WARNING if lost <= (VANISHED.sure or 0.0) else Severity.INFO


def _confidence(lost: float, *, is_stuck: bool) -> float:
    return VANISHED.confidence(lost, MEASURED_FAULT) if is_stuck else VANISHED.confidence(lost, NO_HARM_SEEN)


def _advice(cause: str) -> str:
    if cause == "saturating-activation":
        return "Replace the saturating activations, or normalise before them."
    if cause == "off-critical-init":
        return "Draw the initial weights at the scale that this activation needs."
    return "Give the gradient a path around the layers, or warm the learning rate up."
