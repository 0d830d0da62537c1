"""The rule saturated-activation: the inputs of hidden units lie where their activation is flat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import SHARED_SYMPTOM
from unvanish.diagnose.gradient_profile import SATURATING
from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import Row, RunView
from unvanish.diagnose.thresholds import HALF_LEARNED, SATURATED, SOUND_FOR_TANH, WELL_LEARNED
from unvanish.diagnose.trend import classify_trend
from unvanish.record.finding import Cause, Finding, Severity


@final
class SaturatedActivation(Rule):
    """More than half of a hidden layer's inputs lie where the activation is flat, from the first steps on.

    Sees: the share of inputs at which the activation's own slope is under a twentieth of its steepest.

    Why it matters: these units pass on no gradient and hardly change.

    Known problems: an output layer that saturates because it is sure is healthy, so the last activation of a chain is left out,
    and so is a network that learns.

    Example: normal weights with a deviation of 1 in a tanh network of width 128.

    References: Glorot and Bengio 2010.
    """

    code: ClassVar[str] = "saturated-activation"
    rank: ClassVar[int] = 35
    explains: ClassVar[frozenset[str]] = frozenset({"loss-not-decreasing", "vanishing-gradient", "learning-rate-too-low"})

    def examine(self, view: RunView) -> Iterator[Finding]:
        early, late = view.early_median("saturated_fraction"), view.late_median("saturated_fraction")
        for stack in view.stacks:
            last_layer = max((view.site(i).order for i in stack.layers), default=-1)
            hidden = [i for i in stack.activations if view.site(i).op in SATURATING and view.site(i).order < last_layer]
            saturated = [i for i in hidden if early[i] >= SATURATED.value and late[i] >= SATURATED.value]
            if saturated and not view.has_learned(
                stack, (WELL_LEARNED if _are_nearly_all(early, saturated) else HALF_LEARNED).value
            ):
                yield self._finding(view, stack, saturated)

    def _finding(self, view: RunView, stack: LayerStack, saturated: list[int]) -> Finding:
        shares = view.early_median("saturated_fraction")[saturated]
        worst = int(np.argmax(shares))
        spread = float(view.early_median("activation_std")[max(0, saturated[0] - 1)])
        from_input = bool(saturated[0] == stack.activations[0])
        name = view.structure.site_label(saturated[worst])
        return Finding(
            self.code,
            Severity.CRITICAL,
            SATURATED.confidence(float(shares[worst]), SHARED_SYMPTOM),
            f"In {wording.format_names(view.site_labels(saturated))} most units are stuck at the ends of their range.",
            f"{wording.format_percent(float(shares[worst]))} of the inputs of {name} lie where it is flat, so no gradient passes "
            f"there. What arrives there has a standard deviation of {wording.format_number(spread)}: "
            + ("the weights or the inputs before it are too large." if from_input else "the weights before it are too large."),
            advice="Draw smaller initial weights, scale the inputs, or normalise before the activation.",
            sites=view.site_labels(saturated),
            cause=Cause(_cause(view, stack)),
            evidence=(SATURATED.as_evidence("saturated_fraction", float(shares[worst]), name),),
            remedies=("glorot-init", "batchnorm", "relu + he-init", "lecun-init", "orthogonal-init"),
            began=int(view.run.sampled[0]),
            location=view.location(saturated[0]),
            trend=classify_trend(view.values("saturated_fraction")[:, saturated[worst]], worse=1, step=0.05),
        )


def _are_nearly_all(early: Row, saturated: list[int]) -> bool:
    """Whether nearly all units of these layers are saturated."""
    return bool(np.median(early[saturated]) >= (SATURATED.sure or 1.0))


def _cause(view: RunView, stack: LayerStack) -> str:
    """The code of the cause: large initial weights, or an activation too steep for weights of ordinary size."""
    scale = view.log10_initial_scale(stack)
    return "saturating-activation" if scale is not None and scale <= SOUND_FOR_TANH.value else "off-critical-init"
