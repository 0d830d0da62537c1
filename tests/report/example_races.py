"""Example of a race by successive halving with every ending that a candidate can have, and with known numbers."""

from __future__ import annotations

import math

from unvanish.record.races.candidate import Candidate
from unvanish.record.races.verdict import Cost, Effect, Outcome, RaceResult, TrialResult, Verdict

UNMEASURED = Cost(math.nan, math.nan, math.nan)
SHAPES = "crashed: RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x64 and 32x10)"
PATCH = """--- a/digits.py
+++ b/digits.py
@@ -18,4 +18,5 @@
     layers = []
     for _ in range(10):
-        layers += [nn.Linear(width, width), nn.Sigmoid()]
+        layers += [nn.Linear(width, width), nn.ReLU()]
     net = nn.Sequential(*layers)
+    he_(net)
--- a/model.py
+++ b/model.py
@@ -3 +3 @@
--- x & <y>
+++ z
"""


def make_effect(metric: str, control: float, treated: float, half: float, *, spread: float = 0.004) -> Effect:
    higher = metric != "loss"
    gain = treated - control if higher else control - treated
    return Effect(metric, higher, control, treated, gain, (gain - half, gain + half), 0.01, spread)


def make_complete_verdict(name: str, outcome: Outcome, accuracy: float, loss: float, *, cost: Cost, seeds: int = 3) -> Verdict:
    """A candidate that was run to its end."""
    half = 0.012 if seeds > 1 else math.inf
    effects = (make_effect("val_accuracy", 0.101, accuracy, half), make_effect("loss", 2.303, loss, half))
    return Verdict(Candidate(tuple(name.split(" + "))), outcome, effects, seeds, 360, cost, "a reason", rung=3, rungs=3)


def make_stopped_verdict(name: str, rung: int, loss: float, *, rate_factor: float | None = None) -> Verdict:
    effects = (make_effect("loss", 2.303, loss, math.inf),)
    candidate = Candidate((name,), rate_factor)
    return Verdict(candidate, Outcome.SAME, effects, 1, 40 * rung, Cost(1.0, 1.0, 1.0), "stopped", rung, 3)


def make_failed_verdict(name: str, reason: str) -> Verdict:
    text = f"A trial failed: {reason}."
    return Verdict(Candidate((name,)), Outcome.FAILED, (), 0, 4, UNMEASURED, text, rung=0, rungs=3, failure=reason)


def make_trial(
    name: str, seed: int, steps: int, losses: tuple[float, ...], *, rate_factor: float | None = None, failure: str | None = None
) -> TrialResult:
    candidate = Candidate(tuple(name.split(" + ")) if name else (), rate_factor)
    return TrialResult(candidate, seed, steps, losses[-1], (), (), 3.0, 100, 1000, losses, failure)


VERDICTS = (
    make_complete_verdict("batchnorm", Outcome.CURED, 0.972, 0.081, cost=Cost(1.18, 1.012, 1.03, 1.02)),
    make_complete_verdict("relu + he-init", Outcome.CURED, 0.964, 0.102, cost=Cost(0.97, 1.0, 1.0, 1.0)),
    make_complete_verdict("tailored-activation", Outcome.SAME, 0.51, 1.2, cost=Cost(1.31, 1.0, 1.0), seeds=1),
    make_stopped_verdict("elu", 2, 0.41),
    make_stopped_verdict("learning-rate", 1, 2.31, rate_factor=10.0),
    make_failed_verdict("lsuv-init", SHAPES),
    make_failed_verdict("muon", "out of memory"),
)
TRIALS = (
    *(make_trial("", seed, 360, (2.3, 2.31, 2.3)) for seed in range(3)),
    *(make_trial("batchnorm", seed, 360, (2.3, 0.5, 0.081)) for seed in range(3)),
    *(make_trial("relu + he-init", seed, 360, (2.3, 0.7, 0.102)) for seed in range(3)),
    make_trial("tailored-activation", 0, 360, (2.3, 1.5, 1.2)),
    make_trial("elu", 0, 80, (2.3, 0.41)),
    make_trial("learning-rate", 0, 40, (2.3, 2.31), rate_factor=10.0),
)
HALVED = RaceResult(
    script="digits.py",
    verdicts=VERDICTS,
    winner=Candidate(("relu", "he-init")),
    control=(make_effect("val_accuracy", 0.101, 0.101, 0.0, spread=0.01), make_effect("loss", 2.303, 2.303, 0.0, spread=0.001)),
    trials=TRIALS,
    sentence="The cheapest cure that is as good as the best: relu + he-init.",
    notes=("The script is not deterministic: five seeds were used.",),
    patch=PATCH,
)
