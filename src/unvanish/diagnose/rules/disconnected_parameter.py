"""The rule disconnected-parameter: weights that no gradient reaches, or that no optimizer owns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, final

import numpy as np

from unvanish.diagnose import wording
from unvanish.diagnose.confidences import NO_GRADIENT_OR_OWNER
from unvanish.diagnose.rule import Rule
from unvanish.diagnose.run_view import RunView
from unvanish.diagnose.thresholds import SMALL_PART
from unvanish.record.finding import Cause, Evidence, Finding, Severity

MIN_SAMPLES = 3  # a parameter without a gradient in three samples is not merely unused for a step


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

    def examine(self, view: RunView) -> Iterator[Finding]:
        without_gradient = self._without_gradient(view)
        if without_gradient:
            yield self._finding(
                view,
                without_gradient,
                "detached-graph",
                "get no gradient at all",
                "The optimizer owns them, but backward never reaches them: the graph is cut between them and the loss, by "
                "detach(), .item(), .data, numpy, or a loss that is built anew.",
                "Keep the loss connected to the network's output; look for detach(), item() and torch.tensor(...) on the way.",
            )
        if not without_gradient and (trained_outside := self._trained_outside(view)):
            yield self._finding(
                view,
                trained_outside,
                "disconnected-parameter",
                "are in no optimizer",
                "The weights that the optimizer steps over never run and never get a gradient; those that run and get one are "
                "others, such as a copy that was made later.",
                "Give the optimizer the parameters of the network that is trained, after every copy has been made.",
            )
            return
        without_optimizer = self._without_optimizer(view)
        if without_optimizer:
            is_unregistered = any(not view.parameter(i).registered for i in without_optimizer)
            yield self._finding(
                view,
                without_optimizer,
                "detached-graph" if is_unregistered else "disconnected-parameter",
                "are in no optimizer",
                "They run and get gradients, but they are not in parameters(), because a plain list or dict holds their modules."
                if is_unregistered
                else "They run and get gradients, but the optimizer was not given them, while layers before them are trained.",
                "Hold the layers in an nn.ModuleList." if is_unregistered else "Give all parameters to the optimizer.",
            )

    def _without_gradient(self, view: RunView) -> list[int]:
        """Trainable parameters of an optimizer that run and are updated at least three times, and never have a gradient."""
        stepped = ~np.isnan(view.values("log10_weight_rms"))
        with_gradient = ~np.isnan(view.values("log10_weight_gradient_rms"))
        used = {p for s in view.structure.sites for p in s.parameters}
        return [
            i
            for i, parameter in enumerate(view.structure.parameters)
            if parameter.group is not None
            and parameter.trainable
            and i in used
            and stepped[:, i].sum() >= MIN_SAMPLES
            and not with_gradient[:, i].any()
        ]

    def _trained_outside(self, view: RunView) -> list[int]:
        """Trainable parameters that get gradients outside the optimizer, where none of the optimizer's own gets any."""
        parameters = view.structure.parameters
        owned = [i for i, p in enumerate(parameters) if p.group is not None]
        stepped = ~np.isnan(view.values("log10_weight_rms")[:, owned])
        with_gradient = ~np.isnan(view.values("log10_weight_gradient_rms")[:, owned])
        if not owned or with_gradient.any() or stepped.sum(axis=0).min() < MIN_SAMPLES:
            return []
        gradients = view.values("log10_gradient_rms")
        learning = [s for i, s in enumerate(view.structure.sites) if np.isfinite(gradients[:, i]).any()]
        return list(
            dict.fromkeys(i for s in learning for i in s.parameters if parameters[i].group is None and parameters[i].trainable)
        )

    def _without_optimizer(self, view: RunView) -> list[int]:
        """Trainable parameters that run without an optimizer: unregistered, after a trained layer, or in a network with a loss."""
        parameters = view.structure.parameters
        trained = {p.network for p in parameters if p.group is not None}
        first_trained: dict[int, int] = {}
        for site in view.structure.sites:
            if any(parameters[i].group is not None for i in site.parameters):
                first_trained[site.network] = min(site.order, first_trained.get(site.network, site.order))
        indices: list[int] = []
        first = min(first_trained.values(), default=0)
        with_loss = {head.network for head in view.structure.heads if head.parameter is not None} if trained else set[int]()
        gradients = view.values("log10_gradient_rms")  # (samples, sites)
        for index, site in enumerate(view.structure.sites):
            if not np.isfinite(gradients[:, index]).any():
                continue
            candidates = [i for i in site.parameters if parameters[i].group is None and parameters[i].trainable]
            if site.network in with_loss - trained and site.order > first:
                indices += candidates
            is_after_trained = site.order > first_trained.get(site.network, 1 << 30)
            if site.network in trained:
                indices += [i for i in candidates if is_after_trained or not parameters[i].registered]
        return list(dict.fromkeys(indices))

    def _finding(self, view: RunView, indices: list[int], cause: str, what: str, why: str, advice: str) -> Finding:
        size = sum(view.parameter(i).size for i in indices)
        total = sum(p.size for p in view.structure.parameters if p.trainable)
        share = size / max(1, total)
        sites = [i for i, s in enumerate(view.structure.sites) if set(s.parameters) & set(indices)]
        labels = [view.structure.parameter_label(i) for i in indices]
        severity = Severity.CRITICAL if share >= SMALL_PART.value else Severity.WARNING
        return Finding(
            self.code,
            severity if _learning_depends_on(view, sites, indices) else Severity.INFO,
            NO_GRADIENT_OR_OWNER.value,
            f"{wording.format_percent(share)} of the network's weights {what}, so they never change.",
            f"{wording.format_names(labels)} ({size:,} weights): {why[0].lower()}{why[1:]}",
            advice=advice,
            sites=view.site_labels(sites),
            cause=Cause(cause),
            evidence=(
                Evidence("share of the weights", share, "fraction", SMALL_PART.value, "counted; less is hardly missed", labels[0]),
            ),
            began=int(view.run.sampled[0]) if len(view.run.sampled) else None,
            location=view.location(sites[0]) if sites else None,
        )


def _learning_depends_on(view: RunView, sites: list[int], indices: list[int]) -> bool:
    """Whether a layer that learns comes after these ones, or none learns at all; an unused head at the end does no harm."""
    gradients = view.values("log10_weight_gradient_rms")
    learning = {
        i
        for i in np.flatnonzero(np.isfinite(gradients).any(axis=0))
        if i not in indices and view.parameter(int(i)).group is not None
    }
    after = [view.site(s).order for s in range(len(view.structure.sites)) if learning & set(view.site(s).parameters)]
    without_owner = all(view.parameter(i).group is None for i in indices)
    return without_owner or not after or min(view.site(s).order for s in sites) < max(after)
