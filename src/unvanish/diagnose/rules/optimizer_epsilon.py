"""optimizer-epsilon: the optimizer's small constant is larger than the gradients that it should only guard."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import LayerStack, RunView
from unvanish.diagnose.thresholds import EPSILON, HARDLY_LEARNED, MOSTLY_LEARNED, SLOW, STANDSTILL
from unvanish.record.finding import Cause, Finding, Severity

# Optimizers that divide by the root of a mean square plus eps. Adadelta and Adafactor mean something else by the name.
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

    def examine(self, chart: RunView) -> Iterator[Finding]:
        for chain in chart.chains:
            pace, over = chart.pace(chain), _over_gradient(chart, chain)
            if pace is None or over is None or pace > SLOW.value:
                continue
            if chart.learned(chain, MOSTLY_LEARNED.value if pace <= STANDSTILL.value else HARDLY_LEARNED.value):
                continue
            if over >= EPSILON.value:
                yield self._finding(chart, chain, pace, over)

    def _finding(self, chart: RunView, chain: LayerStack, pace: float, over: float) -> Finding:
        group = next(g for g in chart.anatomy.groups if g.optimizer == chain.objective)
        eps = group.setting("eps")
        return Finding(
            self.code,
            Severity.CRITICAL,
            EPSILON.confidence(over, least=0.85),
            "A constant of the optimizer outweighs the gradients, so that the network hardly moves.",
            f"{group.class_name} divides by the gradient's size plus eps, here {wording.quantity(eps)}, which is "
            f"{wording.multiple_of(over)[:-9]} the "
            f"gradient. Half of the layers change by less than {wording.ten_to(pace):.1e} of their size a step.",
            advice="Set eps well below the gradients: 1e-8 is usual, or less where gradients are tiny.",
            sites=chart.labels(chain.layers),
            cause=Cause(self.code),
            evidence=(EPSILON.shown("eps over gradient", over), SLOW.shown("relative update", pace)),
            remedies=("epsilon", "adamw", "learning-rate"),
            began=int(chart.run.sampled[0]),
        )


def _over_gradient(chart: RunView, chain: LayerStack) -> float | None:
    """log10 of eps over the gradient's RMS, exceeded by nine in ten of the weight matrices in the chain's adaptive groups."""
    gradients = chart.late("log10_weight_gradient_rms")
    found: list[float] = []
    for index in chart.matrices(chain):
        number = chart.parameter(index).group
        group = chart.anatomy.groups[number] if number is not None else None
        eps = group.setting("eps") if group is not None and group.class_name.lower().startswith(DIVIDING) else 0.0
        if eps > 0 and np.isfinite(gradients[index]):
            found.append(math.log10(eps) - float(gradients[index]))
    return float(np.percentile(found, 10)) if found else None
