"""The rule optimizer-epsilon: the eps of an adaptive optimizer is larger than the gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import MEASURED_FAULT
from unvanish.diagnose.layer_stacks import LayerStack
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import EPSILON, HARDLY_LEARNED, MOSTLY_LEARNED, SLOW, STANDSTILL
from unvanish.record.finding import Cause, Finding, Severity

# Optimizers that divide by the root of a mean square plus eps. Adadelta and Adafactor use eps for something else.
DIVIDING = ("adam", "rmsprop", "adagrad", "adabelief", "lamb", "nadam", "radam")


@final
class OptimizerEpsilon(Rule):
    """The constant that an adaptive optimizer adds below the fraction is ten times the gradient or more, and the steps are too
    small.

    Sees: the setting `eps` of every parameter group, the RMS of the gradients, the size of the updates, the loss.

    Why it matters: Adam divides each gradient by its own size, so that every weight moves at the learning rate. Where eps is
    larger than the gradient, it divides by eps instead: the network moves at rate times gradient over eps, which is next to
    nothing.

    Known problems: a large eps is sometimes chosen for stability; a network that moves at the usual pace, or learns, is left
    alone.

    Example: `Adam(..., eps=1.0)`, or the usual 1e-8 where the loss is multiplied by 1e-9.

    References: Kingma and Ba 2015 (arXiv 1412.6980); TensorFlow documentation, "Adam", on eps.
    """

    code: ClassVar[str] = "optimizer-epsilon"
    rank: ClassVar[int] = 51
    explains: ClassVar[frozenset[str]] = frozenset({"loss-not-decreasing", "learning-rate-too-low", "vanishing-gradient"})

    def examine(self, view: RunView) -> Iterator[Finding]:
        for stack in view.stacks:
            update_ratio, eps_ratio = view.update_ratio(stack), _log10_eps_over_gradient(view, stack)
            if update_ratio is None or eps_ratio is None or update_ratio > SLOW.value:
                continue
            if view.has_learned(stack, MOSTLY_LEARNED.value if update_ratio <= STANDSTILL.value else HARDLY_LEARNED.value):
                continue
            if eps_ratio >= EPSILON.value:
                yield self._finding(view, stack, update_ratio, eps_ratio)

    def _finding(self, view: RunView, stack: LayerStack, update_ratio: float, eps_ratio: float) -> Finding:
        group = next(g for g in view.structure.groups if g.optimizer == stack.objective)
        eps = group.setting("eps")
        return Finding(
            self.code,
            Severity.CRITICAL,
            EPSILON.confidence(eps_ratio, MEASURED_FAULT),
            "A constant of the optimizer outweighs the gradients, so that the network hardly moves.",
            f"{group.class_name} divides by the gradient's size plus eps, here {wording.format_number(eps)}, which is "
            f"{wording.format_multiple(eps_ratio)[:-9]} the gradient. Half of the layers change by less than "
            f"{wording.power_of_ten(update_ratio):.1e} of their size a step.",
            advice="Set eps well below the gradients: 1e-8 is usual, or less where gradients are tiny.",
            sites=view.site_labels(stack.layers),
            cause=Cause(self.code),
            evidence=(EPSILON.as_evidence("eps over gradient", eps_ratio), SLOW.as_evidence("relative update", update_ratio)),
            remedies=("epsilon", "adamw", "learning-rate"),
            began=int(view.run.sampled[0]),
        )


def _log10_eps_over_gradient(view: RunView, stack: LayerStack) -> float | None:
    """log10 of eps over the gradient's RMS, exceeded by nine in ten of the weight matrices in the stack's adaptive groups."""
    gradients = view.late_median("log10_weight_gradient_rms")
    ratios: list[float] = []
    for index in view.weight_matrices(stack):
        group_index = view.parameter(index).group
        group = view.structure.groups[group_index] if group_index is not None else None
        eps = group.setting("eps") if group is not None and group.class_name.lower().startswith(DIVIDING) else 0.0
        if eps > 0 and np.isfinite(gradients[index]):
            ratios.append(math.log10(eps) - float(gradients[index]))
    return float(np.percentile(ratios, 10)) if ratios else None
