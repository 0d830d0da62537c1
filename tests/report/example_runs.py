"""Examples of runs, findings and a race with known numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from unvanish.record.finding import Cause, Evidence, Finding, Severity
from unvanish.record.quantities import Metric
from unvanish.record.races.candidate import Candidate
from unvanish.record.races.verdict import Cost, Effect, Outcome, RaceResult, Verdict
from unvanish.record.run import Facts, Run
from unvanish.record.structure import Location, ModelStructure, Network, OptimizerGroup, Parameter, Site

SCRIPT = "examples/digits_sigmoid.py"
FACTS = Facts(
    script=SCRIPT,
    started="2026-11-23T20:14:05",
    versions=(("unvanish", "0.1.0"), ("torch", "2.13.0")),
    machine="Linux x86_64, 2 cores",
    device="cpu",
    threads=1,
    wall_s=12.0,
    own_s=0.09,
    ending="finished",
)


def make_structure(depth: int, *, op: str = "sigmoid") -> ModelStructure:
    """A chain of `depth` linear layers with an activation after each but the last: net.0, net.1, ..."""
    sites: list[Site] = []
    parameters: list[Parameter] = []
    for layer in range(depth):
        parameters.append(Parameter(0, f"net.{2 * layer}.weight", (64, 64), group=0))
        sites.append(Site(0, f"net.{2 * layer}", "linear", "weight", 2 * layer, parameters=(layer,)))
        if layer < depth - 1:
            sites.append(Site(0, f"net.{2 * layer + 1}", op, "activation", 2 * layer + 1))
    return ModelStructure(
        (Network("model", "Net"),), tuple(sites), tuple(parameters), (OptimizerGroup(0, "Adam", (("lr", 1e-3),)),)
    )


def make_run(
    depth: int = 10,
    *,
    decades: float = 0.0,
    steps: int = 300,
    sampled: Sequence[int] | None = None,
    losses: Callable[[np.ndarray], np.ndarray] | None = None,
    saturated: float = 0.02,
) -> Run:
    """A run of a chain whose gradient loses `decades` (negative: loses) evenly between the loss and the input."""
    tree = make_structure(depth)
    when = np.array([*range(1, 11), *range(20, steps + 1, 10)] if sampled is None else sampled, np.int64)
    rows, sites, parameters = len(when), len(tree.sites), len(tree.parameters)
    noise = np.random.default_rng(0)
    gradient = np.linspace(decades, 0, sites)[None] - 2 + np.zeros((rows, 1))
    activation = np.array([site.kind == "activation" for site in tree.sites])
    number = np.arange(1, steps + 1)
    return Run(
        facts=FACTS,
        structure=tree,
        sampled=when,
        readings={
            "log10_gradient_rms": gradient,
            "gradient_nonfinite": np.zeros((rows, sites)),
            "activation_std": 0.2 + 0.1 * noise.random((rows, sites)),
            "zero_fraction": np.zeros((rows, sites)),
            "saturated_fraction": np.where(activation, saturated, np.nan) + np.zeros((rows, 1)),
            "nonfinite_count": np.zeros((rows, sites)),
            "log10_weight_rms": np.full((rows, parameters), -1.2),
            "log10_update_rms": np.full((rows, parameters), -4.2) + np.linspace(decades / 4, 0, parameters),
        },
        steps=number,
        ended_s=number * 0.04,
        losses=(2.3 * np.exp(-number / 100) if losses is None else losses(number))[:, None],
        metrics=(Metric(steps, "accuracy", 0.94),),
    )


def make_broken_run(at: int = 5) -> Run:
    """A run whose gradient and loss are not numbers from step `at` on."""
    run = make_run(6, losses=lambda step: np.where(step < at, 2.3 * step, np.inf))
    late = (run.sampled >= at)[:, None]
    readings = dict(run.readings)
    for name in ("log10_gradient_rms", "activation_std", "saturated_fraction", "log10_weight_rms", "log10_update_rms"):
        readings[name] = np.where(late, np.nan, readings[name])
    for name in ("gradient_nonfinite", "nonfinite_count"):
        readings[name] = np.where(late, 1.0, readings[name])
    return replace(run, readings=readings)


VANISHING = Finding(
    code="vanishing-gradient",
    severity=Severity.CRITICAL,
    confidence=0.97,
    summary="The first 7 of 10 layers are not learning.",
    why="Every sigmoid passes on at most a quarter of the gradient. Between the loss and net.0, 6.1 of its decades are lost.",
    advice="Replace the sigmoid by an activation that does not level off, and start its weights to match.",
    sites=tuple(f"net.{2 * layer}" for layer in range(7)),
    cause=Cause("saturating-activation", 0.78),
    evidence=(
        Evidence("gain", -6.1, "log10", -3.0, "ratio 1e-3 of first to last layer (Zhang 2021)", "net.0"),
        Evidence("loss fell by", float("nan"), "fraction", None, "not calibrated"),
    ),
    symptoms=("loss-not-decreasing",),
    remedies=("relu + he-init", "batchnorm", "elu"),
    began=1,
    location=Location(f"/home/ann/code/{SCRIPT}", 21, "nn.Sigmoid()"),
)
NOTED = Finding("dead-units", Severity.INFO, 0.6, "A few units of net.3 are silent.", "4 % of them.", sites=("net.3",))


def make_effect(metric: str, control: float, treated: float, half: float) -> Effect:
    higher = metric == "accuracy"
    gained = treated - control if higher else control - treated
    return Effect(metric, higher, control, treated, gained, (gained - half, gained + half), 0.01, half / 2)


def make_verdict(name: str, outcome: Outcome, accuracy: float, loss: float, *, step_time: float = 1.0) -> Verdict:
    effects = (make_effect("accuracy", 0.101, accuracy, 0.02), make_effect("loss", 2.303, loss, 0.05))
    return Verdict(Candidate(tuple(name.split(" + "))), outcome, effects, 3, 300, Cost(step_time, 1.0, 1.0), "a reason")


UNMEASURED = Cost(float("nan"), float("nan"), float("nan"))
RACE = RaceResult(
    script=SCRIPT,
    verdicts=(
        make_verdict("batchnorm", Outcome.CURED, 0.972, 0.081, step_time=1.18),
        make_verdict("relu + he-init", Outcome.CURED, 0.964, 0.102, step_time=0.97),
        make_verdict("glorot-init", Outcome.SAME, 0.104, 2.302),
        Verdict(
            Candidate(("lsuv",)), Outcome.FAILED, (), 3, 4, UNMEASURED, "RuntimeError at step 4", failure="RuntimeError at step 4"
        ),
    ),
    winner=Candidate(("relu", "he-init")),
    control=(make_effect("accuracy", 0.101, 0.101, 0.0), make_effect("loss", 2.303, 2.303, 0.0)),
    trials=(),
    sentence="The cheapest cure that is as good as the best: relu + he-init.",
)
