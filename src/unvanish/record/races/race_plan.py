"""What a race would do, before it is run: the candidates, why and how each would be tried, its parts and their cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unvanish.record.races.candidate import Candidate

IN_PLACE, ONE_LINE = "in place", "one unvanish.apply line"
# Identities of the parts of a race. Rungs and ends belong to a wave of candidates: see `rung_id` and `end_id`.
CONTROL_ID, PLANNING_ID, SEEDS_ID, MORE_SEEDS_ID, LATE_END_ID = "control", "planning", "seeds", "more-seeds", "late-end"
CHECKPOINT_ID = "checkpoint"


def rung_id(wave: int, rung: int) -> str:
    """The identity of the part in which a wave, from 0, runs to a rung, from 1."""
    return f"wave-{wave}-rung-{rung}"


def end_id(wave: int) -> str:
    """The identity of the part in which what is left of a wave runs to the end of the training."""
    return f"wave-{wave}-end"


@dataclass(frozen=True, slots=True)
class PlannedCandidate:
    """One candidate. `finding` is the code of the finding that asks for it ("": a person did), `edit` how the source would be
    changed, IN_PLACE or ONE_LINE, and `lines` how many lines of it that writes (0: not known)."""

    candidate: Candidate
    finding: str
    edit: str
    lines: int = 0

    @property
    def name(self) -> str:
        """The candidate as people write it."""
        return self.candidate.name


@dataclass(frozen=True, slots=True)
class RacePart:
    """A part of a race that begins: its identity, what it is about in words, and how many trials it has."""

    id: str
    text: str
    trials: int


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """A part of a race that is to come: so many trials, each from the step at which it stands (0: it is started) to another.

    `id` is that of the RacePart which begins when it comes. The race comes to `if_needed` parts only where the others have shown no
    cure.
    """

    id: str
    text: str
    trials: int
    begins: int
    ends: int
    if_needed: bool = False

    @property
    def steps(self) -> int:
        """The steps of all its trials together."""
        return self.trials * (self.ends - self.begins)


@dataclass(frozen=True, slots=True)
class RacePlan:
    """A race that could be run. `steps` are those of the training as it is, which took `seconds` (NaN: not measured).

    `candidates` are in the order in which they would be tried, `refused` pairs of a name and the reason.
    """

    script: str
    steps: int
    seconds: float
    seeds: int
    candidates: tuple[PlannedCandidate, ...]
    parts: tuple[PlannedPart, ...]
    refused: tuple[tuple[str, str], ...] = ()

    @property
    def cost_steps(self) -> int:
        """The steps of the race, without the parts that are come to only if needed."""
        return sum(part.steps for part in self.parts if not part.if_needed)

    @property
    def most_steps(self) -> int:
        """The steps of all parts."""
        return sum(part.steps for part in self.parts)

    def runs(self, steps: int) -> float:
        """So many steps as a multiple of one run of the script; NaN where that makes no step."""
        return steps / self.steps if self.steps else math.nan
