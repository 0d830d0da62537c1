"""What a race would do, before it is run: the candidates, why and how each would be tried, its parts and their cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unvanish.record.verdict import candidate_name

IN_PLACE, ONE_LINE = "in place", "one unvanish.apply line"


@dataclass(frozen=True, slots=True)
class PlannedCandidate:
    """One candidate. `finding` is the code of the finding that asks for it ("": a person did), `edit` how the source would be
    changed, IN_PLACE or ONE_LINE, and `lines` how many lines of it that writes (0: not known)."""

    remedies: tuple[str, ...]
    finding: str
    edit: str
    lines: int = 0
    variant: str = ""

    @property
    def name(self) -> str:
        """The candidate as people write it."""
        return candidate_name(self.remedies, self.variant)


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """A part of the race: so many trials, each from the step at which it stands (0: it is started) to another. The race comes to
    `if_needed` parts only where the others have shown no cure."""

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
