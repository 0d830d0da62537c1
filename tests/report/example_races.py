"""A race by halving made by hand, with every way in which a candidate can end, so that each figure is known beforehand."""

from __future__ import annotations

import math

from unvanish.record.verdict import Cost, Effect, Outcome, RaceResult, TrialResult, Verdict

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


def effect(metric: str, control: float, treated: float, half: float, *, spread: float = 0.004) -> Effect:
    higher = metric != "loss"
    gain = treated - control if higher else control - treated
    return Effect(metric, higher, control, treated, gain, (gain - half, gain + half), 0.01, spread)


def whole(name: str, outcome: Outcome, accuracy: float, loss: float, *, cost: Cost, seeds: int = 3) -> Verdict:
    """A candidate that was run to its end."""
    half = 0.012 if seeds > 1 else math.inf
    effects = (effect("val_accuracy", 0.101, accuracy, half), effect("loss", 2.303, loss, half))
    return Verdict(tuple(name.split(" + ")), outcome, effects, seeds, 360, cost, "a reason", rung=3, rungs=3)


def stopped(name: str, rung: int, loss: float, *, variant: str = "") -> Verdict:
    effects = (effect("loss", 2.303, loss, math.inf),)
    return Verdict((name,), Outcome.SAME, effects, 1, 40 * rung, Cost(1.0, 1.0, 1.0), "stopped", variant, rung, 3)


def failed(name: str, why: str) -> Verdict:
    return Verdict((name,), Outcome.FAILED, (), 0, 4, UNMEASURED, f"A trial failed: {why}.", rung=0, rungs=3)


def trial(
    name: str, seed: int, steps: int, losses: tuple[float, ...], *, variant: str = "", failure: str | None = None
) -> TrialResult:
    remedies = tuple(name.split(" + ")) if name else ()
    return TrialResult(remedies, seed, steps, losses[-1], (), (), 3.0, 100, 1000, losses, failure, variant=variant)


VERDICTS = (
    whole("batchnorm", Outcome.CURED, 0.972, 0.081, cost=Cost(1.18, 1.012, 1.03, 1.02)),
    whole("relu + he-init", Outcome.CURED, 0.964, 0.102, cost=Cost(0.97, 1.0, 1.0, 1.0)),
    whole("tailored-activation", Outcome.SAME, 0.51, 1.2, cost=Cost(1.31, 1.0, 1.0, None), seeds=1),
    stopped("elu", 2, 0.41),
    stopped("learning-rate", 1, 2.31, variant="x10"),
    failed("lsuv-init", SHAPES),
    failed("muon", "out of memory"),
)
TRIALS = (
    *(trial("", seed, 360, (2.3, 2.31, 2.3)) for seed in range(3)),
    *(trial("batchnorm", seed, 360, (2.3, 0.5, 0.081)) for seed in range(3)),
    *(trial("relu + he-init", seed, 360, (2.3, 0.7, 0.102)) for seed in range(3)),
    trial("tailored-activation", 0, 360, (2.3, 1.5, 1.2)),
    trial("elu", 0, 80, (2.3, 0.41)),
    trial("learning-rate", 0, 40, (2.3, 2.31), variant="x10"),
)
HALVED = RaceResult(
    script="digits.py",
    verdicts=VERDICTS,
    winner=("relu", "he-init"),
    control=(effect("val_accuracy", 0.101, 0.101, 0.0, spread=0.01), effect("loss", 2.303, 2.303, 0.0, spread=0.001)),
    trials=TRIALS,
    sentence="The cheapest cure that is as good as the best: relu + he-init.",
    notes=("The script is not deterministic: five seeds were used.",),
    patch=PATCH,
)
