"""From findings to remedies, best first: each is applied to a copy of the network, which is traced and foretold. It trains nothing.

What a remedy does to the gradient at the start can be known before any training: theory foretells it from the treated network's
own layers, and one exact trace measures it. What it does to learning only a race can tell.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unvanish.errors import UnvanishError
from unvanish.plugins.remedies import catalogue
from unvanish.record.change import Prescription, RemedyForecast
from unvanish.record.finding import Finding

if TYPE_CHECKING:
    from torch import nn

# Gradients that differ by less than a decade between the ends train alike: healthy networks of the calibration lie within it.
HARMLESS_DECADES = 1.0
# A candidate that leaves more than a quarter of the harmful decades is no cure for them.
LEFT_SHARE = 0.25
MOST_CANDIDATES = 12
# What these findings are about can be read off the gradient at the start.
ABOUT_DECADES = frozenset(
    {"vanishing-gradient", "exploding-gradient", "saturated-activation", "off-critical-init", "shattered-gradient"}
)


def prescribe(findings: Sequence[Finding], model: nn.Module, inputs: Any, loss: Any) -> Prescription | None:
    """What to take for the leading finding: what acts, by expected benefit over cost, then what cannot act, and why.

    Arguments as for `trace`. None where nothing is found, or nothing on the shelf treats it. The model stays bit for bit as it is.
    Cost: a copy of the network and a few training steps for each candidate.
    """
    from unvanish.remedies.combinations import candidates

    loud = [finding for finding in findings if finding.severity.loud]
    if not loud:
        return None
    root = loud[0]
    advised = [name for finding in loud for name in finding.remedies]
    codes = (root.code, root.cause.code) if root.cause is not None else (root.code,)
    chosen = candidates(advised, codes, catalogue())[:MOST_CANDIDATES]
    if not chosen:
        return None
    foretold, traced, _ = _look(model, inputs, loss)
    tried = [_tried(names, model, inputs, loss) for names in chosen]
    before = traced if root.code in ABOUT_DECADES else None
    order = sorted(range(len(tried)), key=lambda at: (*_rank(tried[at], before), at))
    return Prescription(root.code, foretold, traced, tuple(tried[at] for at in order))


def harm(decades: float | None) -> float:
    """How many decades of a gradient's loss or growth are more than healthy networks have; inf where none arrives."""
    if decades is None or math.isnan(decades):
        return math.inf
    return max(0.0, abs(decades) - HARMLESS_DECADES)


def _rank(candidate: RemedyForecast, before: float | None) -> tuple[float, ...]:
    """Candidates that act come first, those that remove the harm before others, and among equals the smaller network."""
    if candidate.refusal:
        return (3.0, 0.0)
    if before is None:
        return (0.0, 0.0)
    left = harm(candidate.traced)
    if left <= LEFT_SHARE * harm(before):
        return (0.0, 0.0)
    return (1.0, left)


def _tried(names: tuple[str, ...], model: nn.Module, inputs: Any, loss: Any) -> RemedyForecast:
    """A candidate applied to a copy of the network."""
    from unvanish.tracing.inputs_and_loss import loss_of
    from unvanish.tracing.preserved_state import preserved_state

    candidate = RemedyForecast(names)
    try:
        with preserved_state(model):
            double = copy.deepcopy(model)
        from unvanish import remedies

        optimizer = _stand_in_optimizer(double)
        remedies.apply(double, *names, optimizer=optimizer, inputs=inputs, loss=loss_of(loss), catalogue=catalogue())
    except UnvanishError as why:
        return replace(candidate, refusal=str(why).removeprefix(f"{names[0]}: "))
    foretold, traced, size = _look(double, inputs, loss)
    return replace(candidate, foretold=foretold, traced=traced, parameters=size / _size(model))


def _stand_in_optimizer(double: nn.Module) -> Any:
    """An optimizer for remedies that alter one; which one a script has is not known before it runs."""
    import torch

    return torch.optim.SGD([p for p in double.parameters() if p.requires_grad], lr=0.1)


def _look(model: nn.Module, inputs: Any, loss: Any) -> tuple[float | None, float | None, int]:
    """The decades that theory foretells, those that a trace finds, and the number of parameters."""
    from unvanish.diagnose.prediction import predict
    from unvanish.tracing import trace, with_orthogonality

    size = _size(model)
    try:
        flow = with_orthogonality(trace(model, inputs, loss), model)
    except UnvanishError:
        return None, None, size
    return predict(flow).decades, flow.total, size


def _size(model: nn.Module) -> int:
    return max(1, sum(parameter.numel() for parameter in model.parameters()))
