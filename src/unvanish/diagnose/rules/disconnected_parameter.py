"""disconnected-parameter: weights that no gradient reaches, or that no optimizer moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import SMALL_PART
from unvanish.record.finding import Cause, Evidence, Finding, Severity

# A parameter that got no gradient in each of three samples is not merely idle for a step.
SAMPLES = 3


@final
class DisconnectedParameter(Rule):
    """A trainable weight takes part in the forward pass, but no gradient ever reaches it, or no optimizer owns it.

    Sees: the parameters of every network that ran, the gradient each one holds when the optimizer steps, and which optimizer
    owns it.

    Why it matters: these weights stay as they were born.

    Known problems: freezing layers by leaving them out of the optimizer is common and sound, so layers before the first trained
    one are left alone, and so is a network of which no weight is trained; a head that runs but is in no loss is worth a remark
    only.

    Example: `features.detach()` on the way to the loss; layers held in a Python list; an optimizer that was given a template of
    which a copy is trained.

    References: PyTorch documentation, "Autograd mechanics" (detach) and `nn.ModuleList`.
    """

    code: ClassVar[str] = "disconnected-parameter"
    rank: ClassVar[int] = 5
    explains: ClassVar[frozenset[str]] = frozenset(
        {"loss-not-decreasing", "vanishing-gradient", "learning-rate-too-low", "dead-units", "saturated-activation"}
    )

    def examine(self, chart: RunView) -> Iterator[Finding]:
        unreached = self._unreached(chart)
        if unreached:
            yield self._finding(
                chart,
                unreached,
                "detached-graph",
                "get no gradient at all",
                "The optimizer owns them, but backward never reaches them: the graph is cut between them and the loss, by "
                "detach(), .item(), .data, numpy, or a loss that is built anew.",
                "Keep the loss connected to the network's output; look for detach(), item() and torch.tensor(...) on the way.",
            )
        if not unreached and (strangers := self._strangers(chart)):
            yield self._finding(
                chart,
                strangers,
                "disconnected-parameter",
                "are in no optimizer",
                "The weights that the optimizer steps over never run and never get a gradient; those that run and get one "
                "are others, "
                "such as a copy that was made later.",
                "Give the optimizer the parameters of the network that is trained, after every copy has been made.",
            )
            return
        unowned = self._unowned(chart)
        if unowned:
            loose = any(not chart.parameter(i).registered for i in unowned)
            yield self._finding(
                chart,
                unowned,
                "detached-graph" if loose else "disconnected-parameter",
                "are in no optimizer",
                "They run and get gradients, but they are not in parameters(), because a plain list or dict holds their modules."
                if loose
                else "They run and get gradients, but the optimizer was not given them, while layers before them are trained.",
                "Hold the layers in an nn.ModuleList." if loose else "Give all parameters to the optimizer.",
            )

    def _unreached(self, chart: RunView) -> list[int]:
        """Owned, trainable, used in the forward pass, stepped over at least three times, and never with a gradient."""
        stepped = ~np.isnan(chart.values("log10_weight_rms"))
        with_gradient = ~np.isnan(chart.values("log10_weight_gradient_rms"))
        used = {p for s in chart.anatomy.sites for p in s.parameters}
        return [
            i
            for i, parameter in enumerate(chart.anatomy.parameters)
            if parameter.group is not None
            and parameter.trainable
            and i in used
            and stepped[:, i].sum() >= SAMPLES
            and not with_gradient[:, i].any()
        ]

    def _strangers(self, chart: RunView) -> list[int]:
        """The trainable weights that run and learn, where the only optimizer owns none of them and none of its own has a
        gradient."""
        parameters = chart.anatomy.parameters
        owned = [i for i, p in enumerate(parameters) if p.group is not None]
        stepped = ~np.isnan(chart.values("log10_weight_rms")[:, owned])
        with_gradient = ~np.isnan(chart.values("log10_weight_gradient_rms")[:, owned])
        if not owned or with_gradient.any() or stepped.sum(axis=0).min() < SAMPLES:
            return []
        gradients = chart.values("log10_gradient_rms")
        learning = [s for i, s in enumerate(chart.anatomy.sites) if np.isfinite(gradients[:, i]).any()]
        return list(
            dict.fromkeys(i for s in learning for i in s.parameters if parameters[i].group is None and parameters[i].trainable)
        )

    def _unowned(self, chart: RunView) -> list[int]:
        """Used and trainable, in a network that is trained, but owned by no optimizer: unregistered, or behind a trained layer."""
        parameters = chart.anatomy.parameters
        trained = {p.network for p in parameters if p.group is not None}
        first_trained: dict[int, int] = {}
        for site in chart.anatomy.sites:
            if any(parameters[i].group is not None for i in site.parameters):
                first_trained[site.network] = min(site.order, first_trained.get(site.network, site.order))
        found: list[int] = []
        first = min(first_trained.values(), default=0)
        judged = {head.network for head in chart.anatomy.heads if head.parameter is not None} - trained if trained else set[int]()
        for index, site in enumerate(chart.anatomy.sites):
            if site.network in judged and site.order > first and np.isfinite(chart.values("log10_gradient_rms")[:, index]).any():
                found += [i for i in site.parameters if parameters[i].group is None and parameters[i].trainable]
            behind = site.order > first_trained.get(site.network, 1 << 30)
            learns = np.isfinite(chart.values("log10_gradient_rms")[:, index]).any()
            if site.network in trained and learns:
                candidates = (i for i in site.parameters if parameters[i].group is None and parameters[i].trainable)
                found += [i for i in candidates if behind or not parameters[i].registered]
        return list(dict.fromkeys(found))

    def _finding(self, chart: RunView, found: list[int], cause: str, what: str, why: str, advice: str) -> Finding:
        size = sum(chart.parameter(i).size for i in found)
        total = sum(p.size for p in chart.anatomy.parameters if p.trainable)
        share = size / max(1, total)
        sites = [i for i, s in enumerate(chart.anatomy.sites) if set(s.parameters) & set(found)]
        names = [chart.anatomy.parameter_label(i) for i in found]
        loud = Severity.CRITICAL if share >= SMALL_PART.value else Severity.WARNING
        return Finding(
            self.code,
            loud if _learning_depends_on(chart, sites, found) else Severity.INFO,
            0.95,
            f"{wording.percent(share)} of the network's weights {what}, so they never change.",
            f"{wording.span(names)} ({size:,} weights): {why[0].lower()}{why[1:]}",
            advice=advice,
            sites=chart.labels(sites),
            cause=Cause(cause),
            evidence=(
                Evidence("share of the weights", share, "fraction", SMALL_PART.value, "counted; less is hardly missed", names[0]),
            ),
            began=int(chart.run.sampled[0]) if len(chart.run.sampled) else None,
            location=chart.location(sites[0]) if sites else None,
        )


def _learning_depends_on(chart: RunView, sites: list[int], found: list[int]) -> bool:
    """Whether a layer that learns comes after these ones, or none learns at all; an unused head at the end holds nobody up."""
    gradients = chart.values("log10_weight_gradient_rms")
    learning = {
        i
        for i in np.flatnonzero(np.isfinite(gradients).any(axis=0))
        if i not in found and chart.parameter(int(i)).group is not None
    }
    after = [chart.site(s).order for s in range(len(chart.anatomy.sites)) if learning & set(chart.site(s).parameters)]
    owned = all(chart.parameter(i).group is None for i in found)
    return owned or not after or min(chart.site(s).order for s in sites) < max(after)
