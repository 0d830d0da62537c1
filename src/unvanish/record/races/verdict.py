"""What a race proved: the result of each trial, and the verdict on each candidate with its effect, interval and cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from unvanish.record.races.candidate import Candidate

# A metric of every trial whose head is understood: the share of right answers on the training data, or of the variance explained.
TRAINING_SCORE = "training_score"
# Ratios of times per step, or of sizes, up to this count as equal: about what one trial varies by on a busy machine of two cores.
EQUAL_TIME_RATIO = 1.05


class Outcome(StrEnum):
    """What a candidate did, against the untouched script on the same seeds."""

    CURED = "cured"
    BETTER = "better"
    SAME = "same"
    WORSE = "worse"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One run of the script with one candidate and one seed.

    Arguments:
        candidate: what was tried; CONTROL for the script as it is.
        seed: by how much the script's own seeds were shifted.
        steps: training steps that it made.
        final_loss: mean loss over the last tenth of the steps; infinite where it diverged, NaN where there was no step.
        metrics: pairs of a name and the last value of what the script logged or printed.
        findings: codes of the findings of severity warning and above.
        step_ms: median time of a step in milliseconds (processor time on a CPU).
        parameters: number of trainable values.
        memory_bytes: the process's peak memory.
        losses: the loss curve, thinned to block means.
        failure: what went wrong, None where nothing did.
        paused: whether the trial stands at a rung of the race and was not trained to its end.
        flops: floating point operations of one forward and backward pass; NaN where they were not counted.
    """

    candidate: Candidate
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
    flops: float = math.nan

    @property
    def name(self) -> str:
        """The candidate as people write it: "relu + he-init", "learning-rate x0.1"; "" for the control."""
        return self.candidate.name


@dataclass(frozen=True, slots=True)
class Effect:
    """A paired comparison on one metric: means of control and treated, mean difference, and its 95 % interval.

    A positive `effect` is always an improvement: treated minus control where higher is better, else the reverse. The spreads are
    standard deviations over the seeds.
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
    """What a candidate costs, as ratios to the control: 1.2 is a fifth more. NaN where a ratio was not measured."""

    step_time: float
    parameters: float
    memory: float
    flops: float = math.nan


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was proved about one candidate.

    Arguments:
        candidate: what was tried.
        outcome: what it did, against the script as it is.
        effects: comparisons with the control, the deciding metric first; empty where a trial failed.
        seeds: the number of seeds that both candidate and control ran with.
        steps: the most steps that one of its trials made.
        cost: ratios to the script as it is.
        reason: why it has this outcome, in a sentence for people.
        rung, rungs: the rung that it reached, and how many there are; the last is the end of the training (0 of 0: no rungs).
        failure: why one of its trials failed; "" where none did.
    """

    candidate: Candidate
    outcome: Outcome
    effects: tuple[Effect, ...]
    seeds: int
    steps: int
    cost: Cost
    reason: str
    rung: int = 0
    rungs: int = 0
    failure: str = ""

    @property
    def name(self) -> str:
        """The candidate as people write it: "relu + he-init", "learning-rate x0.1"."""
        return self.candidate.name

    @property
    def remedies(self) -> tuple[str, ...]:
        """The names of the candidate's remedies."""
        return self.candidate.remedies


class LinePlace(StrEnum):
    """Where a line that applies a candidate belongs: before or behind the line that builds the optimizer."""

    BEFORE_OPTIMIZER = "before"
    AFTER_OPTIMIZER = "behind"


@dataclass(frozen=True, slots=True)
class RaceResult:
    """A race and what it proved.

    Arguments:
        script: the name of what was raced.
        verdicts: one for each candidate, best first.
        winner: the candidate to take; None where nothing helped.
        control: comparisons of the script as it is with itself, for its means and spreads.
        trials: every trial behind the verdicts.
        sentence: what was proved, in one sentence.
        line: code that applies the winner where there is no patch, and `line_place` where it belongs.
        notes: sentences that a person should know besides the verdict.
        stopped: whether the race was ended early.
        patch: the winner's edit as a unified diff.
    """

    script: str
    verdicts: tuple[Verdict, ...]
    winner: Candidate | None
    control: tuple[Effect, ...]
    trials: tuple[TrialResult, ...]
    sentence: str
    line: str | None = None
    line_place: LinePlace = LinePlace.BEFORE_OPTIMIZER
    notes: tuple[str, ...] = ()
    stopped: bool = False
    patch: str | None = None
