"""The rule unscaled-input: the inputs are far larger or smaller than initial weights are made for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import SHARED_SYMPTOM
from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import DROWNED, HALF_LEARNED, LARGE_INPUT, SMALL_INPUT, Threshold
from unvanish.record.finding import Cause, Finding, Severity


@final
class UnscaledInput(Rule):
    """The largest feature of the input is ten times the usual size or more, or all of it a hundredth or less, and the network
    does not learn well.

    Sees: the RMS of every feature of what the network is given (channels of images and sequences), what normalises it, and how
    much of the task is learned.

    Why it matters: initial weights are made for inputs of about 1. Larger ones drive the first layer to its ends, make one
    column drown the others, and leave no learning rate that suits all weights; smaller ones give the first layer nothing to
    work with.

    Known problems: a network whose first layer is a normalisation does not mind, and is left alone, as is one that learns all
    the same. The scale of targets is another matter.

    Example: raw amounts of up to 1e6 in a tanh network; pixels from 0 to 255 with plain SGD.

    References: LeCun, Bottou, Orr and Müller 1998, "Efficient BackProp", section 4.3.
    """

    code: ClassVar[str] = "unscaled-input"
    rank: ClassVar[int] = 8
    explains: ClassVar[frozenset[str]] = frozenset(
        {"loss-not-decreasing", "saturated-activation", "dead-units", "vanishing-gradient", "exploding-gradient", "non-finite"}
        | {"learning-rate-too-high", "learning-rate-too-low", "representation-collapse", "off-critical-init", "overfitting"}
        | {"attention-collapse", "shattered-gradient"}
    )

    def examine(self, view: RunView) -> Iterator[Finding]:
        for stack in view.stacks:
            for network in sorted(stack.networks):
                finding = self._check_input(view, stack, network)
                if finding is not None:
                    yield finding

    def _check_input(self, view: RunView, stack: LayerStack, network: int) -> Finding | None:
        width = view.values("log10_input_rms").shape[1]
        if network >= width or _starts_with_normalisation(view, network) or view.has_learned(stack, HALF_LEARNED.value):
            return None
        largest, middle, overall = (
            float(view.early_median(name)[network]) for name in ("log10_largest_feature", "log10_median_feature", "log10_input_rms")
        )
        if largest >= LARGE_INPUT.value:
            return self._finding(view, stack, network, LARGE_INPUT, largest, _describe_large_input(largest, middle))
        if overall <= SMALL_INPUT.value:
            size = wording.format_number(wording.power_of_ten(overall))
            text = f"The input has an RMS of {size}: the first layer sees hardly more than its own bias."
            return self._finding(view, stack, network, SMALL_INPUT, overall, text)
        return None

    def _finding(self, view: RunView, stack: LayerStack, network: int, threshold: Threshold, size: float, why: str) -> Finding:
        first = next((i for i in stack.layers if view.site(i).network == network), None)
        is_untrained = view.loss_curve(stack.objective) is None
        return Finding(
            self.code,
            Severity.WARNING if is_untrained else Severity.CRITICAL,
            threshold.confidence(size, SHARED_SYMPTOM),
            f"The inputs are far too {'large' if threshold is LARGE_INPUT else 'small'} for the network: they are not scaled.",
            why,
            advice="Standardise every feature: subtract its mean and divide by its deviation, as measured on the training data.",
            sites=view.site_labels([first]) if first is not None else (),
            cause=Cause(self.code),
            evidence=(
                threshold.as_evidence("RMS of the largest feature" if threshold is LARGE_INPUT else "RMS of the input", size),
            ),
            remedies=("standardise-input", "batchnorm", "learning-rate", "adamw"),
            began=int(view.run.sampled[0]),
            location=view.location(first) if first is not None else None,
        )


def _describe_large_input(largest: float, middle: float) -> str:
    size = wording.format_number(wording.power_of_ten(largest))
    text = f"The largest feature of the input has an RMS of {size}, where about 1 is what initial weights are made for."
    if np.isfinite(middle) and largest - middle >= DROWNED.value:
        text += f" It is {wording.format_number(wording.power_of_ten(largest - middle))} times the middle one, which it drowns."
    return text


def _starts_with_normalisation(view: RunView, network: int) -> bool:
    """Whether the first operation of the network on its input is a normalisation or an embedding."""
    sites = [
        s for s in view.structure.sites if s.network == network and s.kind in ("normalisation", "embedding", "weight", "recurrence")
    ]
    first = min(sites, key=lambda s: s.order, default=None)
    return first is not None and first.kind in ("normalisation", "embedding")
