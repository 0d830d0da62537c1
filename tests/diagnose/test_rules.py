"""Every rule: a record that it names, with cause, place and figures, and the healthy neighbours that it leaves alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from examinations import flow, recurrence, scaled, through_time, told
from handmade_runs import SAMPLED, anatomy, falling, flat, healthy, kinds, opponents, owned, reading, slope
from judged_records import JUDGED_BEGAN, JUDGED_LEFT_ALONE, JUDGED_SICK, SCORES, judged

from unvanish.diagnose import diagnose
from unvanish.diagnose.rules import built_in
from unvanish.record.finding import Severity
from unvanish.record.run import Run


@dataclass(frozen=True, slots=True)
class Sick:
    """A run and what must be said of it: code and cause, severity, the sites and the step at which it began."""

    run: Run
    code: str
    cause: str | None
    sites: tuple[str, ...]
    severity: Severity = Severity.CRITICAL
    began: int | None = 1
    evidence: str = ""


LAYERS = tuple(str(i) for i in range(0, 11, 2))
SIGMOIDS = anatomy(op="sigmoid")
TANH = anatomy(op="tanh")
STUCK = healthy(losses=flat())
LARGE = reading(STUCK, "log10_weight_rms", 0.0)
STEADY = healthy(losses=falling(end=2.0))
RISING = np.concatenate([np.linspace(2.3, 9.0, 100), np.full(100, 9.0)])
BROKEN = np.concatenate([falling(100), np.full(100, np.inf)])


def lost(run: Run) -> Run:
    """Seven decades lost over the depth."""
    return slope(run, -7.0)


def dying(run: Run, since: int, share: float = 1.0) -> Run:
    return reading(run, "silent_fraction", share, of=kinds(run, "activation")[1:3], since=since)


def stuck_at_ends(run: Run, share: float) -> Run:
    return reading(run, "saturated_fraction", share, of=kinds(run, "activation")[:3])


def woken(start: float, *, after: int, end: float = 1.2) -> Run:
    """Layers that lack that much of their gradient until a late sample, and a loss that stands still for so many steps."""
    losses = np.concatenate([np.full(after, 2.3), falling(200 - after, end=end)])
    late = max(3, len(SAMPLED) // 2)
    whole = slope(judged(losses=losses), start)
    decades = whole.readings["log10_gradient_rms"].copy()
    decades[late:] = judged().readings["log10_gradient_rms"][late:]
    return reading(whole, "log10_gradient_rms", decades)


def leaping(times: int) -> Run:
    """A loss that leaps to four times its start at once, and so often beyond it later, with little learned between."""
    losses = falling(end=1.6)
    losses[1] = 9.2
    losses[60 : 60 + 20 * (times - 1) : 20] = 4.0
    return healthy(losses=losses)


def thrown(run: Run, decades: float) -> Run:
    """Weights that grow that much over the run, in steps of a third of their size."""
    sizes = -1.0 + np.linspace(0.0, decades, len(SAMPLED))[:, None]
    grown = reading(run, "log10_weight_rms", np.repeat(sizes, len(run.anatomy.parameters), axis=1))
    return reading(grown, "log10_update_rms", -1.5)


def grown_stream(growth: float, *, first: float) -> Run:
    """Residual branches whose sum grows by so many decades, a first loss, and little learned since."""
    losses = falling(end=1.4)
    losses[0] = first
    run = healthy(anatomy(merges=3, heads=[SCORES]), losses=losses)
    return reading(run, "activation_std", np.logspace(0, growth, len(run.anatomy.sites)))


def broken(run: Run, size: float) -> Run:
    """A NaN in the third layer's output from step 80 on, after signals of that size."""
    return reading(reading(run, "activation_std", size, since=40), "nonfinite_count", 5.0, of=[4, 5, 6], since=80)


SICK = {
    "the slopes of sigmoids take the gradient": Sick(
        reading(lost(healthy(SIGMOIDS, losses=flat())), "log10_slope_rms", -0.9, of=[1, 3, 5, 7, 9]),
        "vanishing-gradient",
        "saturating-activation",
        ("0", "2", "4"),
        evidence="gain",
    ),
    "small weights take the gradient": Sick(
        lost(STUCK), "vanishing-gradient", "off-critical-init", ("0", "2", "4"), evidence="gain"
    ),
    "depth takes the gradient in spite of normalisation": Sick(
        lost(healthy(anatomy(normalised=True), losses=flat())),
        "vanishing-gradient",
        "depth-without-path",
        ("0", "3", "6"),
        evidence="gain",
    ),
    "a network learns with its last layers alone": Sick(
        lost(healthy()), "vanishing-gradient", "off-critical-init", ("0", "2", "4"), Severity.WARNING
    ),
    "a gradient that arrives when a quarter of the run is over": Sick(
        woken(-7.0, after=60),
        "vanishing-gradient",
        "off-critical-init",
        ("0", "2", "4"),
        Severity.WARNING,
        evidence="gain at the start",
    ),
    "a loss that leaps again and again": Sick(
        leaping(4), "learning-rate-too-high", "learning-rate-too-high", LAYERS, began=2, evidence="loss at the end"
    ),
    "steps that throw the weights": Sick(
        thrown(judged(losses=falling(end=2.0)), 0.8), "learning-rate-too-high", "learning-rate-too-high", LAYERS
    ),
    "no gradient at all arrives": Sick(
        reading(STUCK, "log10_gradient_rms", -np.inf, of=range(5)), "vanishing-gradient", "off-critical-init", ("0", "2", "4")
    ),
    "large weights blow the gradient up": Sick(
        slope(LARGE, 4.0), "exploding-gradient", "off-critical-init", LAYERS, evidence="gain"
    ),
    "blocks that nothing brings back to size": Sick(
        slope(healthy(anatomy(merges=3), losses=flat()), 5.0),
        "exploding-gradient",
        "missing-normalisation",
        ("0", "3", "6", "9", "11", "13"),
        evidence="gain",
    ),
    "a residual stream that grows until the first loss is absurd": Sick(
        grown_stream(2.0, first=120.0),
        "exploding-gradient",
        "missing-normalisation",
        ("0", "3", "6", "9", "11", "13"),
        evidence="first loss over that of a constant answer",
    ),
    "a signal that runs away, with no gradient to measure": Sick(
        reading(reading(LARGE, "activation_std", np.logspace(0, 6, 11)), "log10_gradient_rms", np.nan),
        "exploding-gradient",
        "off-critical-init",
        LAYERS,
        evidence="signal growth",
    ),
    "units stuck at their ends": Sick(
        reading(stuck_at_ends(healthy(TANH, losses=flat()), 0.9), "log10_weight_rms", 0.0),
        "saturated-activation",
        "off-critical-init",
        ("1", "3", "5"),
        evidence="saturated_fraction",
    ),
    "units whose activation is too steep for sound weights": Sick(
        stuck_at_ends(healthy(TANH, losses=flat()), 0.9), "saturated-activation", "saturating-activation", ("1", "3", "5")
    ),
    "an activation that enlarges a sound signal": Sick(slope(STUCK, 4.0), "exploding-gradient", "exploding-gradient", LAYERS),
    "units dead from the start": Sick(dying(STUCK, 1), "dead-units", "dead-units", ("3", "5"), evidence="silent_fraction"),
    "units that died": Sick(dying(STUCK, 20), "dead-units", "learning-rate-too-high", ("3", "5"), began=20),
    "a graph that is cut": Sick(
        reading(STUCK, "log10_weight_gradient_rms", np.nan, of=[0, 1]),
        "disconnected-parameter",
        "detached-graph",
        ("0", "2"),
        evidence="share of the weights",
    ),
    "layers held in a plain list": Sick(
        owned(healthy(), None, of=[2, 3], registered=False), "disconnected-parameter", "detached-graph", ("4", "6")
    ),
    "a head that the optimizer was not given": Sick(
        owned(healthy(), None, of=[5]), "disconnected-parameter", "disconnected-parameter", ("10",)
    ),
    "a NaN out of nothing": Sick(
        broken(healthy(losses=BROKEN), 1.0), "non-finite", "numerical-domain", ("4",), began=80, evidence="non-finite values"
    ),
    "a NaN after a runaway": Sick(broken(healthy(losses=BROKEN), 1e5), "non-finite", "exploding-gradient", ("4",), began=80),
    "a NaN in the gradient alone": Sick(
        reading(healthy(losses=BROKEN), "gradient_nonfinite", 1.0, of=[0, 2, 4], since=80),
        "non-finite",
        "numerical-domain",
        ("4",),
        began=80,
    ),
    "a layer of copies": Sick(
        reading(STUCK, "unit_spread", 0.0, of=[1]), "symmetric-init", "symmetric-init", ("2",), evidence="unit_spread"
    ),
    "a loss that rises": Sick(
        healthy(losses=RISING), "learning-rate-too-high", "learning-rate-too-high", LAYERS, began=35, evidence="loss at the end"
    ),
    "steps too small to matter": Sick(
        reading(STUCK, "log10_update_rms", -6.0),
        "learning-rate-too-low",
        "learning-rate-too-low",
        LAYERS,
        evidence="relative update",
    ),
    "nothing is learned, for no reason that shows": Sick(
        STUCK, "loss-not-decreasing", None, (), Severity.WARNING, began=None, evidence="fall of the loss"
    ),
    "a recurrence that forgets, in a training that stands still": Sick(
        through_time(recurrence(-6.0), STUCK),
        "vanishing-through-time",
        "recurrence-without-gate",
        ("body",),
        evidence="gain through time",
    ),
    "a recurrence that forgets, before any training": Sick(
        through_time(recurrence(-6.0)), "vanishing-through-time", "recurrence-without-gate", ("body",), Severity.WARNING
    ),
    "gates that stay half closed": Sick(
        through_time(recurrence(-6.0, gated=True), STUCK), "vanishing-through-time", "off-critical-init", ("body",)
    ),
    "a recurrence of the network itself": Sick(
        through_time(recurrence(-6.0, path=""), STUCK),
        "vanishing-through-time",
        "recurrence-without-gate",
        ("body.weight_hh_l0",),
    ),
    "a recurrence that multiplies": Sick(
        through_time(recurrence(6.0)), "exploding-through-time", "off-critical-init", ("body",), evidence="gain through time"
    ),
    "a recurrence that multiplies, although the loss falls": Sick(
        through_time(recurrence(6.0), healthy()), "exploding-through-time", "off-critical-init", ("body",)
    ),
    "weights that theory calls too small": Sick(
        scaled(told(-7.0)), "off-critical-init", "off-critical-init", ("0", "2", "4"), Severity.WARNING, evidence="predicted gain"
    ),
    "weights that theory calls too large": Sick(
        scaled(told(7.0, scale=3.0)), "off-critical-init", "off-critical-init", ("0", "2", "4"), Severity.WARNING
    ),
}

LEFT_ALONE = {
    "nothing at all": healthy(),
    "a loss of two and a half decades of gradient": slope(healthy(), -2.5),
    "a residual stream that grows, and a sound first loss": grown_stream(2.0, first=2.5),
    "a gain of two and a half decades": slope(healthy(), 2.5),
    "a gradient that arrives after a few steps": woken(-7.0, after=10),
    "a gradient that arrives late, and all is learned": woken(-7.0, after=60, end=0.05),
    "a loss that leapt twice": leaping(2),
    "weights that grow little in long steps": thrown(judged(losses=falling(end=1.4)), 0.2),
    "weights that grow in long steps of a network that learns": thrown(judged(), 0.8),
    "two layers with any gradient": slope(healthy(anatomy(2)), -9.0),
    "saturated units in a network that learns": stuck_at_ends(healthy(TANH), 0.9),
    "an output that saturates because it is sure": reading(healthy(anatomy(1, op="sigmoid")), "saturated_fraction", 0.99),
    "silent units in a network that learns": dying(healthy(), 1),
    "a few silent units": dying(healthy(), 1, 0.5),
    "weights that get a gradient now and then": reading(healthy(), "log10_weight_gradient_rms", np.nan, of=[0, 1], since=3),
    "first layers that are frozen": owned(healthy(), None, of=[0, 1, 2]),
    "a network of which nothing is trained": owned(healthy(), None, of=range(6)),
    "a step that a gradient scaler skipped": reading(
        healthy(losses=np.where(np.arange(200) == 50, np.inf, falling())), "gradient_nonfinite", 1.0, of=[3], since=160
    ),
    "a residual branch that starts at zero": reading(healthy(), "unit_spread", np.nan, of=[2]),
    "a symmetry that neighbours break": reading(
        reading(healthy(), "unit_spread", 0.0, of=[2]), "unit_spread", 1e-3, of=[2], since=2
    ),
    "a spike that heals": healthy(losses=falling() + 10 * (np.abs(np.arange(200) - 90) < 2)),
    "violent first steps of a network that learns": reading(healthy(), "log10_update_rms", -0.5),
    "small steps of a network that learns": reading(healthy(), "log10_update_rms", -6.0),
    "a noisy loss that cannot be judged": healthy(losses=2.3 + np.random.default_rng(2).standard_normal(200)),
    "a run too short to judge": healthy(losses=flat(20), sampled=range(1, 11)),
    "two opponents": healthy(opponents(), losses=np.stack([flat(), flat(level=0.7)], axis=1)),
    "a loss below zero that falls": healthy(losses=-falling(start=0.2, end=2.3)),
    "gates that may still open": through_time(recurrence(-6.0, gated=True)),
    "a recurrence that learns all the same": through_time(recurrence(-6.0), healthy()),
    "a recurrence of which every step is read": through_time(recurrence(-6.0, own=-0.5)),
    "two and a half decades forgotten": through_time(recurrence(-2.5), STEADY),
    "two and a half decades gained through time": through_time(recurrence(2.5), STEADY),
    "a recurrence through which nothing comes": through_time(recurrence(math.nan)),
    "two and a half decades that theory expects": scaled(told(-2.5)),
    "weights at the critical scale": scaled(told(-7.0, scale=1.40)),
    "a normalised network": scaled(replace(told(-7.0), phase="")),
    "a network that theory does not speak of": scaled(told(None)),
    "an activation without a critical scale": scaled(told(-7.0, critical=None)),
    "activations that take most of it": scaled(told(-7.0), taken=flow(-5.0, -2.0, activation="sigmoid")),
    "weights that theory calls too small, in a training that works": scaled(told(-7.0), healthy()),
}


SICK |= {
    name: Sick(run, code, cause, sites, began=JUDGED_BEGAN.get(name, 1), evidence=evidence)
    for name, (run, code, cause, sites, evidence) in JUDGED_SICK.items()
}
LEFT_ALONE |= JUDGED_LEFT_ALONE


@pytest.mark.parametrize("case", SICK.values(), ids=SICK.keys())
def test_a_sick_record_is_named_with_its_cause_and_place(case: Sick) -> None:
    (found,) = diagnose(case.run)
    assert (found.code, found.severity) == (case.code, case.severity)
    assert (found.cause.code if found.cause else None) == case.cause
    assert found.sites == case.sites
    assert found.began == case.began
    assert 0.5 <= found.confidence < 1
    if case.evidence:
        assert found.evidence[0].quantity == case.evidence


@pytest.mark.parametrize("case", SICK.values(), ids=SICK.keys())
def test_a_finding_says_what_why_and_what_to_do_with_sources(case: Sick) -> None:
    (found,) = diagnose(case.run)
    assert all(text and "nan" not in text.split() for text in (found.summary, found.why, found.advice))
    assert found.summary.endswith(".")
    assert found.evidence
    assert all(evidence.source and evidence.unit for evidence in found.evidence)


# On which side of its threshold the leading evidence of a finding stands.
BELOW = {"vanishing-gradient", "vanishing-through-time", "symmetric-init", "learning-rate-too-low", "loss-not-decreasing"}
ABOVE = {"exploding-gradient", "exploding-through-time", "saturated-activation", "dead-units", "non-finite", "stale-gradient"}
BELOW |= {"gradient-noise", "clipping-dominates", "degenerate-labels", "batch-too-small", "representation-collapse"}
BELOW |= {"shattered-gradient"}
ABOVE |= {"gradient-underflow", "optimizer-epsilon", "weight-decay-dominates", "running-stats-drift", "underfitting", "overfitting"}


@pytest.mark.parametrize("case", [c for c in SICK.values() if c.code in BELOW | ABOVE], ids=lambda case: case.code)
def test_evidence_stands_beyond_its_threshold(case: Sick) -> None:
    (found,) = diagnose(case.run)
    shown = found.evidence[0]
    assert shown.threshold is not None
    assert shown.value <= shown.threshold if case.code in BELOW else shown.value >= shown.threshold


@pytest.mark.parametrize("run", LEFT_ALONE.values(), ids=LEFT_ALONE.keys())
def test_a_healthy_neighbour_is_left_alone(run: Run) -> None:
    assert [finding.code for finding in diagnose(run) if finding.severity.loud] == []


def test_every_rule_has_a_sick_record_in_the_table() -> None:
    assert {case.code for case in SICK.values()} == {rule.code for rule in built_in()}


@pytest.mark.parametrize("rule", built_in(), ids=lambda rule: rule.code)
def test_a_rule_has_a_card_that_says_what_it_sees_why_it_matters_and_where_it_errs(rule: object) -> None:
    card = type(rule).__doc__ or ""
    for part in ("Sees:", "Why it", "Known problems:"):
        assert part in " ".join(card.split())
