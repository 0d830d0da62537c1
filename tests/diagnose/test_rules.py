"""Every rule on one table of records: sick ones with the expected cause, place and evidence, and healthy neighbours."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from examinations import flow, predicted, recurrence, with_prediction, with_recurrence
from records_with_heads import BEGAN_WITH_HEADS, HEALTHY_WITH_HEADS, SCORES, SICK_WITH_HEADS, run_with_head

from unvanish.diagnose import diagnose
from unvanish.diagnose.rules import built_in
from unvanish.record.finding import Severity
from unvanish.record.run import Run
from unvanish.testing.records import (
    SAMPLED_STEPS,
    adversarial_structure,
    falling_loss,
    flat_loss,
    healthy,
    model_structure,
    site_indices,
    with_gradient_slope,
    with_owner,
    with_reading,
)


@dataclass(frozen=True, slots=True)
class SickRecord:
    """A run and the expected finding: code and cause, severity, the sites and the step at which it began."""

    run: Run
    code: str
    cause: str | None
    sites: tuple[str, ...]
    severity: Severity = Severity.CRITICAL
    began: int | None = 1
    evidence: str = ""


LAYERS = tuple(str(i) for i in range(0, 11, 2))
SIGMOIDS = model_structure(op="sigmoid")
TANH = model_structure(op="tanh")
STUCK_RUN = healthy(losses=flat_loss())
LARGE_WEIGHTS = with_reading(STUCK_RUN, "log10_weight_rms", 0.0)
FALLING_RUN = healthy(losses=falling_loss(end=2.0))
RISING_LOSSES = np.concatenate([np.linspace(2.3, 9.0, 100), np.full(100, 9.0)])
BROKEN_LOSSES = np.concatenate([falling_loss(100), np.full(100, np.inf)])


def with_lost_gradient(run: Run) -> Run:
    """Seven decades lost over the depth."""
    return with_gradient_slope(run, -7.0)


def with_silent_units(run: Run, since: int, share: float = 1.0) -> Run:
    return with_reading(run, "silent_fraction", share, of=site_indices(run, "activation")[1:3], since=since)


def with_saturated_units(run: Run, share: float) -> Run:
    return with_reading(run, "saturated_fraction", share, of=site_indices(run, "activation")[:3])


def run_with_late_gradient(start: float, *, after: int, end: float = 1.2) -> Run:
    """Layers that lack that much of their gradient until a late sample, and a loss that stands still for so many steps."""
    losses = np.concatenate([np.full(after, 2.3), falling_loss(200 - after, end=end)])
    first_late_row = max(3, len(SAMPLED_STEPS) // 2)
    run = with_gradient_slope(run_with_head(losses=losses), start)
    decades = run.readings["log10_gradient_rms"].copy()
    decades[first_late_row:] = run_with_head().readings["log10_gradient_rms"][first_late_row:]
    return with_reading(run, "log10_gradient_rms", decades)


def run_with_leaping_loss(times: int) -> Run:
    """A loss that leaps to four times its start at once, and so often beyond it later, with little learned between."""
    losses = falling_loss(end=1.6)
    losses[1] = 9.2
    losses[60 : 60 + 20 * (times - 1) : 20] = 4.0
    return healthy(losses=losses)


def with_growing_weights(run: Run, decades: float) -> Run:
    """Weights that grow that much over the run, in steps of a third of their size."""
    sizes = -1.0 + np.linspace(0.0, decades, len(SAMPLED_STEPS))[:, None]
    grown = with_reading(run, "log10_weight_rms", np.repeat(sizes, len(run.structure.parameters), axis=1))
    return with_reading(grown, "log10_update_rms", -1.5)


def run_with_growing_residuals(growth: float, *, first: float) -> Run:
    """Residual branches whose sum grows by so many decades, a first loss, and little learned since."""
    losses = falling_loss(end=1.4)
    losses[0] = first
    run = healthy(model_structure(merges=3, heads=[SCORES]), losses=losses)
    return with_reading(run, "activation_std", np.logspace(0, growth, len(run.structure.sites)))


def with_nan(run: Run, size: float) -> Run:
    """A NaN in the third layer's output from step 80 on, after signals of that size."""
    return with_reading(with_reading(run, "activation_std", size, since=40), "nonfinite_count", 5.0, of=[4, 5, 6], since=80)


SICK_RECORDS = {
    "the slopes of sigmoids take the gradient": SickRecord(
        with_reading(with_lost_gradient(healthy(SIGMOIDS, losses=flat_loss())), "log10_slope_rms", -0.9, of=[1, 3, 5, 7, 9]),
        "vanishing-gradient",
        "saturating-activation",
        ("0", "2", "4"),
        evidence="gain",
    ),
    "small weights take the gradient": SickRecord(
        with_lost_gradient(STUCK_RUN), "vanishing-gradient", "off-critical-init", ("0", "2", "4"), evidence="gain"
    ),
    "depth takes the gradient in spite of normalisation": SickRecord(
        with_lost_gradient(healthy(model_structure(normalised=True), losses=flat_loss())),
        "vanishing-gradient",
        "depth-without-path",
        ("0", "3", "6"),
        evidence="gain",
    ),
    "a network learns with its last layers alone": SickRecord(
        with_lost_gradient(healthy()), "vanishing-gradient", "off-critical-init", ("0", "2", "4"), Severity.WARNING
    ),
    "a gradient that arrives when a quarter of the run is over": SickRecord(
        run_with_late_gradient(-7.0, after=60),
        "vanishing-gradient",
        "off-critical-init",
        ("0", "2", "4"),
        Severity.WARNING,
        evidence="gain at the start",
    ),
    "a loss that leaps again and again": SickRecord(
        run_with_leaping_loss(4), "learning-rate-too-high", "learning-rate-too-high", LAYERS, began=2, evidence="loss at the end"
    ),
    "steps that throw the weights": SickRecord(
        with_growing_weights(run_with_head(losses=falling_loss(end=2.0)), 0.8),
        "learning-rate-too-high",
        "learning-rate-too-high",
        LAYERS,
    ),
    "no gradient at all arrives": SickRecord(
        with_reading(STUCK_RUN, "log10_gradient_rms", -np.inf, of=range(5)),
        "vanishing-gradient",
        "off-critical-init",
        ("0", "2", "4"),
    ),
    "large weights blow the gradient up": SickRecord(
        with_gradient_slope(LARGE_WEIGHTS, 4.0), "exploding-gradient", "off-critical-init", LAYERS, evidence="gain"
    ),
    "blocks that nothing brings back to size": SickRecord(
        with_gradient_slope(healthy(model_structure(merges=3), losses=flat_loss()), 5.0),
        "exploding-gradient",
        "missing-normalisation",
        ("0", "3", "6", "9", "11", "13"),
        evidence="gain",
    ),
    "a residual stream that grows until the first loss is absurd": SickRecord(
        run_with_growing_residuals(2.0, first=120.0),
        "exploding-gradient",
        "missing-normalisation",
        ("0", "3", "6", "9", "11", "13"),
        evidence="first loss over that of a constant answer",
    ),
    "a signal that runs away, with no gradient to measure": SickRecord(
        with_reading(with_reading(LARGE_WEIGHTS, "activation_std", np.logspace(0, 6, 11)), "log10_gradient_rms", np.nan),
        "exploding-gradient",
        "off-critical-init",
        LAYERS,
        evidence="signal growth",
    ),
    "units stuck at their ends": SickRecord(
        with_reading(with_saturated_units(healthy(TANH, losses=flat_loss()), 0.9), "log10_weight_rms", 0.0),
        "saturated-activation",
        "off-critical-init",
        ("1", "3", "5"),
        evidence="saturated_fraction",
    ),
    "units whose activation is too steep for sound weights": SickRecord(
        with_saturated_units(healthy(TANH, losses=flat_loss()), 0.9),
        "saturated-activation",
        "saturating-activation",
        ("1", "3", "5"),
    ),
    "an activation that enlarges a sound signal": SickRecord(
        with_gradient_slope(STUCK_RUN, 4.0), "exploding-gradient", "exploding-gradient", LAYERS
    ),
    "units dead from the start": SickRecord(
        with_silent_units(STUCK_RUN, 1), "dead-units", "dead-units", ("3", "5"), evidence="silent_fraction"
    ),
    "units that died": SickRecord(with_silent_units(STUCK_RUN, 20), "dead-units", "learning-rate-too-high", ("3", "5"), began=20),
    "a graph that is cut": SickRecord(
        with_reading(STUCK_RUN, "log10_weight_gradient_rms", np.nan, of=[0, 1]),
        "disconnected-parameter",
        "detached-graph",
        ("0", "2"),
        evidence="share of the weights",
    ),
    "layers held in a plain list": SickRecord(
        with_owner(healthy(), None, of=[2, 3], registered=False), "disconnected-parameter", "detached-graph", ("4", "6")
    ),
    "a head that the optimizer was not given": SickRecord(
        with_owner(healthy(), None, of=[5]), "disconnected-parameter", "disconnected-parameter", ("10",)
    ),
    "a NaN out of nothing": SickRecord(
        with_nan(healthy(losses=BROKEN_LOSSES), 1.0),
        "non-finite",
        "numerical-domain",
        ("4",),
        began=80,
        evidence="non-finite values",
    ),
    "a NaN after a runaway": SickRecord(
        with_nan(healthy(losses=BROKEN_LOSSES), 1e5), "non-finite", "exploding-gradient", ("4",), began=80
    ),
    "a NaN in the gradient alone": SickRecord(
        with_reading(healthy(losses=BROKEN_LOSSES), "gradient_nonfinite", 1.0, of=[0, 2, 4], since=80),
        "non-finite",
        "numerical-domain",
        ("4",),
        began=80,
    ),
    "a layer of copies": SickRecord(
        with_reading(STUCK_RUN, "unit_spread", 0.0, of=[1]), "symmetric-init", "symmetric-init", ("2",), evidence="unit_spread"
    ),
    "a loss that rises": SickRecord(
        healthy(losses=RISING_LOSSES),
        "learning-rate-too-high",
        "learning-rate-too-high",
        LAYERS,
        began=35,
        evidence="loss at the end",
    ),
    "steps too small to matter": SickRecord(
        with_reading(STUCK_RUN, "log10_update_rms", -6.0),
        "learning-rate-too-low",
        "learning-rate-too-low",
        LAYERS,
        evidence="relative update",
    ),
    "nothing is learned, for no reason that shows": SickRecord(
        STUCK_RUN, "loss-not-decreasing", None, (), Severity.WARNING, began=None, evidence="fall of the loss"
    ),
    "a recurrence that forgets, in a training that stands still": SickRecord(
        with_recurrence(recurrence(-6.0), STUCK_RUN),
        "vanishing-through-time",
        "recurrence-without-gate",
        ("body",),
        evidence="gain through time",
    ),
    "a recurrence that forgets, before any training": SickRecord(
        with_recurrence(recurrence(-6.0)), "vanishing-through-time", "recurrence-without-gate", ("body",), Severity.WARNING
    ),
    "gates that stay half closed": SickRecord(
        with_recurrence(recurrence(-6.0, gated=True), STUCK_RUN), "vanishing-through-time", "off-critical-init", ("body",)
    ),
    "a recurrence of the network itself": SickRecord(
        with_recurrence(recurrence(-6.0, path=""), STUCK_RUN),
        "vanishing-through-time",
        "recurrence-without-gate",
        ("body.weight_hh_l0",),
    ),
    "a recurrence that multiplies": SickRecord(
        with_recurrence(recurrence(6.0)), "exploding-through-time", "off-critical-init", ("body",), evidence="gain through time"
    ),
    "a recurrence that multiplies, although the loss falls": SickRecord(
        with_recurrence(recurrence(6.0), healthy()), "exploding-through-time", "off-critical-init", ("body",)
    ),
    "weights that theory calls too small": SickRecord(
        with_prediction(predicted(-7.0)),
        "off-critical-init",
        "off-critical-init",
        ("0", "2", "4"),
        Severity.WARNING,
        evidence="predicted gain",
    ),
    "weights that theory calls too large": SickRecord(
        with_prediction(predicted(7.0, scale=3.0)),
        "off-critical-init",
        "off-critical-init",
        ("0", "2", "4"),
        Severity.WARNING,
    ),
}

HEALTHY_RECORDS = {
    "nothing at all": healthy(),
    "a loss of two and a half decades of gradient": with_gradient_slope(healthy(), -2.5),
    "a residual stream that grows, and a sound first loss": run_with_growing_residuals(2.0, first=2.5),
    "a gain of two and a half decades": with_gradient_slope(healthy(), 2.5),
    "a gradient that arrives after a few steps": run_with_late_gradient(-7.0, after=10),
    "a gradient that arrives late, and all is learned": run_with_late_gradient(-7.0, after=60, end=0.05),
    "a loss that leapt twice": run_with_leaping_loss(2),
    "weights that grow little in long steps": with_growing_weights(run_with_head(losses=falling_loss(end=1.4)), 0.2),
    "weights that grow in long steps of a network that learns": with_growing_weights(run_with_head(), 0.8),
    "two layers with any gradient": with_gradient_slope(healthy(model_structure(2)), -9.0),
    "saturated units in a network that learns": with_saturated_units(healthy(TANH), 0.9),
    "an output that saturates because it is sure": with_reading(
        healthy(model_structure(1, op="sigmoid")), "saturated_fraction", 0.99
    ),
    "silent units in a network that learns": with_silent_units(healthy(), 1),
    "a few silent units": with_silent_units(healthy(), 1, 0.5),
    "weights that get a gradient now and then": with_reading(healthy(), "log10_weight_gradient_rms", np.nan, of=[0, 1], since=3),
    "first layers that are frozen": with_owner(healthy(), None, of=[0, 1, 2]),
    "a network of which nothing is trained": with_owner(healthy(), None, of=range(6)),
    "a step that a gradient scaler skipped": with_reading(
        healthy(losses=np.where(np.arange(200) == 50, np.inf, falling_loss())), "gradient_nonfinite", 1.0, of=[3], since=160
    ),
    "a residual branch that starts at zero": with_reading(healthy(), "unit_spread", np.nan, of=[2]),
    "a symmetry that neighbours break": with_reading(
        with_reading(healthy(), "unit_spread", 0.0, of=[2]), "unit_spread", 1e-3, of=[2], since=2
    ),
    "a spike that heals": healthy(losses=falling_loss() + 10 * (np.abs(np.arange(200) - 90) < 2)),
    "violent first steps of a network that learns": with_reading(healthy(), "log10_update_rms", -0.5),
    "small steps of a network that learns": with_reading(healthy(), "log10_update_rms", -6.0),
    "a noisy loss that cannot be judged": healthy(losses=2.3 + np.random.default_rng(2).standard_normal(200)),
    "a run too short to judge": healthy(losses=flat_loss(20), sampled=range(1, 11)),
    "two opponents": healthy(adversarial_structure(), losses=np.stack([flat_loss(), flat_loss(level=0.7)], axis=1)),
    "a loss below zero that falls": healthy(losses=-falling_loss(start=0.2, end=2.3)),
    "gates that may still open": with_recurrence(recurrence(-6.0, gated=True)),
    "a recurrence that learns all the same": with_recurrence(recurrence(-6.0), healthy()),
    "a recurrence of which every step is read": with_recurrence(recurrence(-6.0, own=-0.5)),
    "two and a half decades forgotten": with_recurrence(recurrence(-2.5), FALLING_RUN),
    "two and a half decades gained through time": with_recurrence(recurrence(2.5), FALLING_RUN),
    "a recurrence through which nothing comes": with_recurrence(recurrence(math.nan)),
    "two and a half decades that theory expects": with_prediction(predicted(-2.5)),
    "weights at the critical scale": with_prediction(predicted(-7.0, scale=1.40)),
    "a normalised network": with_prediction(replace(predicted(-7.0), phase="")),
    "a network that theory does not speak of": with_prediction(predicted(None)),
    "an activation without a critical scale": with_prediction(predicted(-7.0, critical=None)),
    "activations that take most of it": with_prediction(predicted(-7.0), traced=flow(-5.0, -2.0, activation="sigmoid")),
    "weights that theory calls too small, in a training that works": with_prediction(predicted(-7.0), healthy()),
}


SICK_RECORDS |= {
    name: SickRecord(run, code, cause, sites, began=BEGAN_WITH_HEADS.get(name, 1), evidence=evidence)
    for name, (run, code, cause, sites, evidence) in SICK_WITH_HEADS.items()
}
HEALTHY_RECORDS |= HEALTHY_WITH_HEADS


@pytest.mark.parametrize("case", SICK_RECORDS.values(), ids=SICK_RECORDS.keys())
def test_a_sick_record_is_named_with_its_cause_and_place(case: SickRecord) -> None:
    (finding,) = diagnose(case.run)
    assert (finding.code, finding.severity) == (case.code, case.severity)
    assert (finding.cause.code if finding.cause else None) == case.cause
    assert finding.sites == case.sites
    assert finding.began == case.began
    assert 0.5 <= finding.confidence < 1
    if case.evidence:
        assert finding.evidence[0].quantity == case.evidence


@pytest.mark.parametrize("case", SICK_RECORDS.values(), ids=SICK_RECORDS.keys())
def test_a_finding_has_summary_reason_advice_and_evidence_with_sources(case: SickRecord) -> None:
    (finding,) = diagnose(case.run)
    assert all(text and "nan" not in text.split() for text in (finding.summary, finding.why, finding.advice))
    assert finding.summary.endswith(".")
    assert finding.evidence
    assert all(evidence.source and evidence.unit for evidence in finding.evidence)


# On which side of its threshold the leading evidence of a finding stands.
BELOW = {"vanishing-gradient", "vanishing-through-time", "symmetric-init", "learning-rate-too-low", "loss-not-decreasing"}
ABOVE = {"exploding-gradient", "exploding-through-time", "saturated-activation", "dead-units", "non-finite", "stale-gradient"}
BELOW |= {"gradient-noise", "clipping-dominates", "degenerate-labels", "batch-too-small", "representation-collapse"}
BELOW |= {"shattered-gradient"}
ABOVE |= {"gradient-underflow", "optimizer-epsilon", "weight-decay-dominates", "running-stats-drift", "underfitting", "overfitting"}


@pytest.mark.parametrize("case", [c for c in SICK_RECORDS.values() if c.code in BELOW | ABOVE], ids=lambda case: case.code)
def test_evidence_lies_beyond_its_threshold(case: SickRecord) -> None:
    (finding,) = diagnose(case.run)
    evidence = finding.evidence[0]
    assert evidence.threshold is not None
    assert evidence.value <= evidence.threshold if case.code in BELOW else evidence.value >= evidence.threshold


@pytest.mark.parametrize("run", HEALTHY_RECORDS.values(), ids=HEALTHY_RECORDS.keys())
def test_a_healthy_neighbour_is_left_alone(run: Run) -> None:
    assert [finding.code for finding in diagnose(run) if finding.severity.loud] == []


def test_every_rule_has_a_sick_record_in_the_table() -> None:
    assert {case.code for case in SICK_RECORDS.values()} == {rule.code for rule in built_in()}


@pytest.mark.parametrize("rule", built_in(), ids=lambda rule: rule.code)
def test_a_rule_has_a_card_that_says_what_it_sees_why_it_matters_and_where_it_errs(rule: object) -> None:
    card = type(rule).__doc__ or ""
    for part in ("Sees:", "Why it", "Known problems:"):
        assert part in " ".join(card.split())
