"""What a race proved: the result of each trial, and the verdict on each candidate with its effect, interval and cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

# A metric of every trial whose head is understood: the share of right answers on the training data, or of the variance explained.
TRAINING_SCORE = "training_score"


class Outcome(StrEnum):
    """What a candidate did, against the untouched script on the same seeds."""

    CURED = "cured"
    BETTER = "better"
    SAME = "same"
    WORSE = "worse"
    FAILED = "failed"


def candidate_name(remedies: tuple[str, ...], variant: str = "") -> str:
    """A candidate as people write it."""
    return f"{' + '.join(remedies)} {variant}".strip()


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One run of the script with one candidate and one seed.

    `remedies` is empty for the control. `final_loss` is the mean loss over the last tenth of the steps. `metrics` are the
    last values of what the script logged or printed. `findings` are the codes of the loud findings of this trial.
    `step_ms` is the median time of a step (processor time on a CPU), `memory_bytes` the process's peak, `flops` the floating point
    operations of one forward and backward pass (NaN: not counted), `failure` what went wrong. `paused` tells that the trial
    stands at a rung of the race and was not trained to its end. `variant` tells apart candidates of equal remedies.
    """

    remedies: tuple[str, ...]
    seed: int
    steps: int
    final_loss: float
    metrics: tuple[tuple[str, float], ...]
    findings: tuple[str, ...]
    step_ms: float
    parameters: int
    memory_bytes: int
    losses: tuple[float, ...] = ()
    failure: str | None = None
    paused: bool = False
    variant: str = ""
    flops: float = math.nan

    @property
    def name(self) -> str:
        """The candidate as people write it: "relu + he-init", "learning-rate x0.1"; "" for the control."""
        return candidate_name(self.remedies, self.variant)


@dataclass(frozen=True, slots=True)
class Effect:
    """A paired comparison on one metric: means of control and treated, mean difference, and its 95 % interval.

    A positive `effect` is always an improvement: treated minus control where higher is better, else the reverse.
    """

    metric: str
    higher_is_better: bool
    control: float
    treated: float
    effect: float
    interval: tuple[float, float]
    control_spread: float = 0.0
    treated_spread: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Ratios to the control. None where a ratio was not measured."""

    step_time: float
    parameters: float
    memory: float
    flops: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was proved about one candidate. `effects` has the deciding metric first; `reason` says why in a sentence; it reached
    rung number `rung` of `rungs`, of which the last is the end of the training (0 of 0: there were none)."""

    remedies: tuple[str, ...]
    outcome: Outcome
    effects: tuple[Effect, ...]
    seeds: int
    steps: int
    cost: Cost
    reason: str
    variant: str = ""
    rung: int = 0
    rungs: int = 0

    @property
    def name(self) -> str:
        """The candidate as people write it: "relu + he-init", "learning-rate x0.1"."""
        return candidate_name(self.remedies, self.variant)


@dataclass(frozen=True, slots=True)
class RaceResult:
    """A race: the verdicts, best first; the winner's remedies (None: nothing helped); the trials behind them. `notes` are sentences
    that a person should know besides the verdict; `stopped` tells that the race was ended early; `patch` is the winner's edit as a
    unified diff."""

    script: str
    verdicts: tuple[Verdict, ...]
    winner: tuple[str, ...] | None
    control: tuple[Effect, ...]
    trials: tuple[TrialResult, ...]
    sentence: str
    line: str | None = None
    winner_variant: str = ""
    notes: tuple[str, ...] = ()
    stopped: bool = False
    patch: str | None = None
