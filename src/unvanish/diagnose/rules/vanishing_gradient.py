"""vanishing-gradient: so little of the gradient reaches the early layers that they cannot learn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.gradient_profile import (
    SATURATING,
    Profile,
    activation_share,
    has_paths_around,
    mends_itself,
    normalised,
    profile,
)
from unvanish.diagnose.plateau import plateau
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import EARLY_ROWS, LayerStack, RunView, log_ratio
from unvanish.diagnose.thresholds import (
    HARDLY_LEARNED,
    LATE_START,
    NOTHING_LEARNED,
    SATURATED_OUTPUT,
    STANDSTILL,
    VANISHED,
    WELL_LEARNED,
)
from unvanish.diagnose.trend import trend
from unvanish.record.finding import Cause, Finding, Severity

# What only arranges numbers, such as taking one time step or spreading a mean, is no illness.
ARRANGEMENT = frozenset({"size", "pooling", "other", "embedding", "loss"})

REMEDIES = {
    "saturating-activation": ("relu + he-init", "batchnorm", "elu", "tailored-activation", "glorot-init + batchnorm", "selu"),
    "off-critical-init": ("he-init", "critical-init", "batchnorm", "orthogonal-init", "glorot-init"),
    "depth-without-path": ("pre-norm", "residual", "tailored-activation", "batchnorm"),
}
STEEPEST = {
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

    def examine(self, chart: RunView) -> Iterator[Finding]:
        for chain in chart.chains:
            found = self._through_depth(chart, chain) or self._through_another_network(chart, chain)
            if found is not None:
                yield found
        if all(profile(chart, chain) is None for chain in chart.chains):
            yield from self._through_the_flow(chart)

    def _through_depth(self, chart: RunView, chain: LayerStack) -> Finding | None:
        seen = profile(chart, chain)
        if seen is None:
            return None
        late = seen.late
        lost = seen.at_input(late)
        if seen.at_input(seen.early) <= VANISHED.value < lost:
            return self._until_late(chart, chain, seen)
        if not lost <= VANISHED.value or (chart.run.checked and (mends_itself(chart) or _starts_closed(chart, lost))):
            return None
        starved = [i for i, value in zip(chain.layers, late, strict=True) if value <= VANISHED.value]
        rows = slice(0, EARLY_ROWS) if seen.at_input(seen.early) <= VANISHED.value else slice(-3, None)
        cause, share = _cause(chart, chain, activation_share(chart, chain, lost, rows))
        stuck = chart.course(chain.objective) is None or not _learns(chart, chain)
        below = seen.relative[:, : max(1, len(chain.layers) // 4)].min(axis=1) <= VANISHED.value
        where = next((i for i in chain.activations if chart.site(i).op in SATURATING), starved[0])
        return Finding(
            self.code,
            _severity(lost, stuck=stuck),
            _confidence(lost, stuck=stuck),
            f"{wording.first_layers_are(len(starved), len(chain.layers))} not learning.",
            self._why(chart, chain, cause, share, lost),
            advice=_advice(cause),
            sites=chart.labels(starved),
            cause=Cause(cause, share),
            evidence=(
                VANISHED.shown("gain", lost, chart.anatomy.site_label(starved[0])),
                VANISHED.shown("gain at the start", seen.at_input(seen.early)),
            ),
            remedies=REMEDIES[cause],
            began=chart.sampled_step(below),
            trend=trend(seen.relative[:, 0], worse=-1, step=0.3),
            location=chart.location(where if cause == "saturating-activation" else starved[0]),
        )

    def _until_late(self, chart: RunView, chain: LayerStack, seen: Profile) -> Finding | None:
        """Where the layers wake up in the end: what of the run passed before, if that has cost it what it could have learned."""
        steps, losses = chart.run.objective(chain.objective)
        skill, lost = chart.skill(chain), seen.at_input(seen.early)
        if skill is None or skill >= WELL_LEARNED.value or not len(losses) or not np.isfinite(losses).all() or mends_itself(chart):
            return None
        idle = plateau(losses)
        if not LATE_START.value * len(losses) <= idle < len(losses):
            return None
        starved = [i for i, value in zip(chain.layers, seen.early, strict=True) if value <= VANISHED.value]
        cause, share = _cause(chart, chain, activation_share(chart, chain, lost, slice(0, EARLY_ROWS)))
        return Finding(
            self.code,
            Severity.WARNING,
            LATE_START.confidence(idle / len(losses), least=0.75, most=0.9),
            f"{wording.first_layers(len(starved), len(chain.layers))} got no gradient to learn from for the first {idle} of "
            f"{len(losses)} steps.",
            f"{self._why(chart, chain, cause, share, lost)} The loss stood still until the weights had grown; by the end "
            f"{wording.percent(max(0.0, skill))} of what there is to learn is learned.",
            advice=_advice(cause),
            sites=chart.labels(starved),
            cause=Cause(cause, share),
            evidence=(VANISHED.shown("gain at the start", lost), LATE_START.shown("share of the run", idle / len(losses))),
            remedies=REMEDIES[cause],
            began=int(steps[0]),
            location=chart.location(starved[0]),
        )

    def _through_the_flow(self, chart: RunView) -> Iterator[Finding]:
        """Where weights are bare parameters of one module, only the trace knows the layers."""
        seen, course = chart.run.examination, chart.course()
        if (
            seen is None
            or seen.flow.times
            or mends_itself(chart)
            or (course is not None and chart.chains and _learns(chart, chart.chains[0]))
        ):
            return
        flow = seen.flow
        shares = flow.shares("kind")
        lost = sum(decades for kind, decades in shares.items() if kind not in ARRANGEMENT)
        if not lost <= VANISHED.value:
            return
        taken = sum(op.decades for op in flow.ops if op.visits and op.op in SATURATING)
        share = min(max(taken / lost, 0.0), 1.0) if np.isfinite(lost) else 0.0
        cause = "saturating-activation" if share >= 0.5 else "off-critical-init"
        yield Finding(
            self.code,
            _severity(lost, stuck=True),
            _confidence(lost, stuck=True),
            "The first layers are not learning.",
            f"Between the output and the input, {wording.decades(lost)} of the gradient are lost ({wording.part_of(lost)} "
            "arrives). "
            f"{REASONS[cause]}.",
            advice=_advice(cause),
            cause=Cause(cause, share if cause == "saturating-activation" else 1 - share),
            evidence=(VANISHED.shown("gain", lost),),
            remedies=REMEDIES[cause],
            began=int(chart.run.sampled[0]),
            location=next((op.location for op in flow.ops if op.visits and op.kind in ("weight", "activation")), None),
        )

    def _why(self, chart: RunView, chain: LayerStack, cause: str, share: float, lost: float) -> str:
        first = chart.labels(chain.layers[:1])[0]
        ops = sorted({chart.site(i).op for i in chain.activations if chart.site(i).op in SATURATING})
        taken = (
            f"Between the last layers and {wording.named(first)}, {wording.decades(lost)} of the gradient "
            f"{'is' if np.isinf(lost) else 'are'} lost ({wording.part_of(lost)} arrives)"
        )
        if cause == "saturating-activation":
            limits = "; ".join(STEEPEST[op] for op in ops if op in STEEPEST)
            whose = f"the {' and '.join(ops)} takes {wording.percent(share)} of them"
            return f"{taken}: {whose}. {limits or REASONS[cause]}.{_foretold(chart)}"
        return f"{taken}. {REASONS[cause]}.{_foretold(chart)}"

    def _through_another_network(self, chart: RunView, chain: LayerStack) -> Finding | None:
        """A network that learns through another one stands still once that one's output saturates, as a GAN's generator does."""
        own = _relative_updates(chart, chain)
        for other in chart.chains:
            output = next((i for i in reversed(other.activations) if chart.site(i).op in SATURATING), None)
            if other is chain or output is None or own is None or not own <= STANDSTILL.value:
                continue
            saturated = float(chart.late("saturated_fraction")[output])
            if saturated < SATURATED_OUTPUT.value or _relative_updates(chart, other) is None:
                continue
            name = chart.anatomy.site_label(output)
            return Finding(
                self.code,
                Severity.CRITICAL,
                0.8,
                f"One of the networks has stopped learning: the other one's output, {name}, lets no gradient through.",
                f"{wording.percent(saturated)} of the values at {name} lie where its slope is under a twentieth of the steepest. "
                f"The gradient of the network that learns through it dies there: its weights change by 10^{own:.1f} of their size.",
                advice="Use a loss on the logits that does not saturate, such as -log D in place of log(1 - D).",
                sites=chart.labels(chain.layers),
                cause=Cause("saturating-activation", 1.0),
                evidence=(
                    SATURATED_OUTPUT.shown("saturated_fraction", saturated, name),
                    STANDSTILL.shown("relative update", own),
                ),
                location=chart.location(output),
            )
        return None


def _cause(chart: RunView, chain: LayerStack, activations: float) -> tuple[str, float]:
    """What takes the gradient, and its share, where saturating activations take the share that is given."""
    if activations >= 0.5:
        return "saturating-activation", activations
    around = normalised(chart, chain) or has_paths_around(chart, chain)
    return "depth-without-path" if around else "off-critical-init", 1 - activations


def _foretold(chart: RunView) -> str:
    """What theory expected, as one more sentence."""
    seen = chart.run.examination
    told = seen.prediction if seen is not None else None
    if told is None or told.decades is None:
        return ""
    return f" Theory expects {wording.decades(told.decades)} between the output and the input at this depth and initialisation."


def _learns(chart: RunView, chain: LayerStack) -> bool:
    """Whether the loss shows, one way or the other, that the ratio does no harm."""
    course = chart.course(chain.objective)
    fell = course is not None and course.fall >= HARDLY_LEARNED.value
    skill = chart.skill(chain)
    return fell and (skill is None or skill >= NOTHING_LEARNED.value)


def _relative_updates(chart: RunView, chain: LayerStack) -> float | None:
    """The median log10 of update over weight, over the chain's weight matrices at the last samples."""
    ratio = log_ratio(chart.late("log10_update_rms"), chart.late("log10_weight_rms"))
    owned = [i for i in chain.layers for i in chart.site(i).parameters if len(chart.parameter(i).shape) > 1]
    values = ratio[owned] if owned else np.array([])
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def _starts_closed(chart: RunView, lost: float) -> bool:
    """Whether layers get exactly nothing while the input gets its share: branches that begin at zero open with the first step."""
    seen = chart.run.examination
    return bool(np.isneginf(lost)) and seen is not None and seen.flow.target == "input" and seen.flow.total > VANISHED.value


def _severity(lost: float, *, stuck: bool) -> Severity:
    """A loss that falls shows that a moderate ratio does no harm."""
    if stuck:
        return Severity.CRITICAL
    return Severity.WARNING if lost <= (VANISHED.sure or 0.0) else Severity.INFO


def _confidence(lost: float, *, stuck: bool) -> float:
    return VANISHED.confidence(lost, least=0.85, most=0.97) if stuck else VANISHED.confidence(lost, least=0.7, most=0.9)


def _advice(cause: str) -> str:
    if cause == "saturating-activation":
        return "Replace the saturating activations, or normalise before them."
    if cause == "off-critical-init":
        return "Draw the initial weights at the scale that this activation needs."
    return "Give the gradient a path around the layers, or warm the learning rate up."
