"""representation-collapse: the network gives every input the same representation, and its loss is content with that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.gradient_profile import profile
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import LayerStack, RunView
from unvanish.diagnose.thresholds import BLURRED, COLLAPSED, COLLAPSED_FALL, HALF_LEARNED, HARDLY_LEARNED, SLOW, VANISHED, Threshold
from unvanish.diagnose.trend import trend
from unvanish.record.finding import Cause, Finding, Severity

FEWEST_OUTPUTS = 2
FEWEST_SAMPLES = 6
REBUILDING = frozenset({"squared", "absolute", "binary-cross-entropy", "binary-cross-entropy-with-logits"})
WIDE = 16  # values in a picture


@final
class RepresentationCollapse(Rule):
    """The outputs of different examples become one and the same, while the loss falls.

    Sees: how far the outputs of the last layer differ between examples, over their size, from the start to the end; the loss, and
    whether it compares the outputs with any target.

    Why it matters: a loss that only pulls together is best served by a constant. It looks perfect, and the representation says
    nothing.

    Known problems: a network that has learned nothing also gives the same answer to everything: there the loss does not fall, and
    this is a symptom. Outputs of one value, and those that a class judges, are left alone.

    Example: pairs that are pulled together, with nothing that pushes others apart; a variational autoencoder that rebuilds the
    mean picture, because its divergence outweighs its error.

    References: Chen and He 2021, "SimSiam" (arXiv 2011.10566); Lucas 2019, "Posterior collapse" (arXiv 1911.02469).
    """

    code: ClassVar[str] = "representation-collapse"
    rank: ClassVar[int] = 36
    explains: ClassVar[frozenset[str]] = frozenset(
        {
            "vanishing-gradient",
            "learning-rate-too-low",
            "dead-units",
            "gradient-noise",
            "exploding-gradient",
            "learning-rate-too-high",
        }
    )

    def examine(self, chart: RunView) -> Iterator[Finding]:
        for chain in chart.chains:
            course = chart.course(chain.objective)
            if not chain.layers or course is None:
                continue
            content = not chart.heads(chain) and course.fall >= HALF_LEARNED.value
            limit = COLLAPSED if content else BLURRED if _rebuilds_a_mean(chart, chain) else None
            if limit is None:
                continue
            last = _output(chart, chain)
            series = chart.values("example_spread")[:, last]
            known = series[np.isfinite(series)]
            if len(known) < FEWEST_SAMPLES:
                continue
            end = float(np.median(known[-3:]))
            fell = float(np.log10(max(end, 1e-12) / max(float(known[0]), 1e-12)))
            if end <= limit.value and fell <= COLLAPSED_FALL.value:
                yield self._finding(chart, last, limit, end, fell)

    def _finding(self, chart: RunView, last: int, limit: Threshold, end: float, fell: float) -> Finding:
        series = chart.values("example_spread")[:, last]
        name = chart.anatomy.site_label(last)
        blurred = limit is BLURRED
        return Finding(
            self.code,
            Severity.CRITICAL,
            min(limit.confidence(end, least=0.85), COLLAPSED_FALL.confidence(fell, least=0.85)),
            "The network gives every input the same answer: what it knows of the input is lost on the way."
            if blurred
            else "The network gives every input the same representation, and its loss is content with that.",
            f"At {wording.named(name)} the examples differ by {wording.percent(end)} of the output's size, "
            f"{wording.part_of(fell)} of what it was at the start, "
            + (
                "although gradients and steps are sound: something in the loss pays for saying nothing."
                if blurred
                else "while the loss falls: it is best served by a constant."
            ),
            advice="Lower the weight of the term that holds the code back (in a variational autoencoder, the divergence), "
            "or sum the error over an example instead of averaging it."
            if blurred
            else "Add a term that pushes unlike examples apart (a margin, negatives, variance), or stop the gradient on one side.",
            sites=chart.labels([last]),
            cause=Cause(self.code),
            evidence=(limit.shown("example_spread", end, name), COLLAPSED_FALL.shown("against the start", fell, name)),
            began=chart.sampled_step(series <= limit.value),
            location=chart.location(last),
            trend=trend(series, worse=-1, step=0.01),
        )


def _rebuilds_a_mean(chart: RunView, chain: LayerStack) -> bool:
    """Whether a network that should rebuild pictures has learned none of them, though its gradient arrives and its weights move."""
    heads = [chart.anatomy.heads[i] for i in chart.heads(chain)]
    rebuilds = any(head.criterion in REBUILDING and head.width >= WIDE for head in heads)
    pace, way = chart.pace(chain), profile(chart, chain)
    arrives = way is None or not way.at_input(way.early) <= VANISHED.value
    return rebuilds and pace is not None and pace > SLOW.value and arrives and not chart.learned(chain, HARDLY_LEARNED.value)


def _output(chart: RunView, chain: LayerStack) -> int:
    """The last layer of more than one output, by the shape of its weights; the last one where none is known."""
    for index in reversed(chain.layers):
        shapes = [chart.parameter(i).shape for i in chart.site(index).parameters]
        if any(len(shape) > 1 and shape[0] >= FEWEST_OUTPUTS for shape in shapes):
            return index
    return chain.layers[-1]
