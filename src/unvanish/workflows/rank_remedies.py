"""Ranks the remedies for a finding, best first: each is applied to a copy of the network, which is traced and compared with theory.

What a remedy does to the gradient at the start can be known before any training: theory predicts it from the treated network's own
layers, and one exact trace measures it. What it does to learning only a race can tell.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from unvanish.errors import UnvanishError
from unvanish.plugins.remedies import catalogue
from unvanish.record.finding import Finding
from unvanish.record.network_changes import Prescription, RemedyForecast

if TYPE_CHECKING:
    from torch import nn

    from unvanish.record.examination import Examination

# Gradients that differ by less than a decade between the ends train alike: healthy networks of the calibration lie within it.
HARMLESS_DECADES = 1.0
# A candidate that leaves more than a quarter of the harmful decades is no cure for them.
LEFT_SHARE = 0.25
MOST_CANDIDATES = 12
# What these findings are about can be read off the gradient at the start.
ABOUT_DECADES = frozenset(
    {"vanishing-gradient", "exploding-gradient", "saturated-activation", "off-critical-init", "shattered-gradient"}
)


def rank_remedies(
    findings: Sequence[Finding], model: nn.Module, inputs: Any, loss: Any, *, untreated: Examination
) -> Prescription | None:
    """What to take for the leading finding: what acts, by expected benefit over cost, then what cannot act, and why.

    Arguments:
        findings: the findings, the root first.
        model, inputs, loss: as for `trace`; the model stays bit for bit as it is.
        untreated: the trace of the model as it is, and what theory says of it.

    None where nothing is found, or no remedy treats it. Cost: a copy of the network and a few training steps for each candidate.
    """
    from unvanish.remedies.combinations import candidate_combinations

    loud = [finding for finding in findings if finding.severity.loud]
    if not loud:
        return None
    root = loud[0]
    advised = [name for finding in loud for name in finding.remedies]
    codes = (root.code, root.cause.code) if root.cause is not None else (root.code,)
    combinations = candidate_combinations(advised, codes, catalogue())[:MOST_CANDIDATES]
    if not combinations:
        return None
    predicted = untreated.prediction.decades if untreated.prediction is not None else None
    traced = untreated.flow.total
    forecasts = [_forecast(names, model, inputs, loss) for names in combinations]
    before = traced if root.code in ABOUT_DECADES else None
    order = sorted(range(len(forecasts)), key=lambda at: (*_rank(forecasts[at], before), at))
    return Prescription(root.code, predicted, traced, tuple(forecasts[at] for at in order))


def harmful_decades(decades: float | None) -> float:
    """How many decades of a gradient's loss or growth are more than healthy networks have; inf where none arrives."""
    if decades is None or math.isnan(decades):
        return math.inf
    return max(0.0, abs(decades) - HARMLESS_DECADES)


def _rank(forecast: RemedyForecast, before: float | None) -> tuple[float, ...]:
    """Candidates that act come first, those that remove the harm before others, and among equals the smaller network."""
    if forecast.refusal:
        return (3.0, 0.0)
    if before is None:
        return (0.0, 0.0)
    left = harmful_decades(forecast.traced)
    if left <= LEFT_SHARE * harmful_decades(before):
        return (0.0, 0.0)
    return (1.0, left)


def _forecast(names: tuple[str, ...], model: nn.Module, inputs: Any, loss: Any) -> RemedyForecast:
    """What some remedies do to a copy of the network before any training; or why they cannot act on it."""
    from unvanish import remedies
    from unvanish.tracing.inputs_and_loss import resolve_loss
    from unvanish.tracing.preserved_state import preserved_state

    forecast = RemedyForecast(names)
    try:
        with preserved_state(model):
            treated = copy.deepcopy(model)
        optimizer = _placeholder_optimizer(treated)
        remedies.apply(treated, *names, optimizer=optimizer, inputs=inputs, loss=resolve_loss(loss), catalogue=catalogue())
    except UnvanishError as reason:
        return replace(forecast, refusal=str(reason).removeprefix(f"{names[0]}: "))
    predicted, traced = _predict_and_trace(treated, inputs, loss)
    return replace(forecast, predicted=predicted, traced=traced, parameters=_size(treated) / _size(model))


def _placeholder_optimizer(model: nn.Module) -> Any:
    """An optimizer for remedies that alter one; which one a script has is not known before it runs."""
    import torch

    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)


def _predict_and_trace(model: nn.Module, inputs: Any, loss: Any) -> tuple[float | None, float | None]:
    """The decades that theory predicts, and those that a trace measures."""
    from unvanish.diagnose.theory_prediction import predict
    from unvanish.tracing import trace, with_orthogonality

    try:
        flow = with_orthogonality(trace(model, inputs, loss), model)
    except UnvanishError:
        return None, None
    return predict(flow).decades, flow.total


def _size(model: nn.Module) -> int:
    return max(1, sum(parameter.numel() for parameter in model.parameters()))
