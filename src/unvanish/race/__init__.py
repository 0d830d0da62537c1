"""Remedies compete over trials against the untouched script, and a referee says what that proves. It trains nothing itself."""

from unvanish.race.candidates import Candidate, candidate_as_line, candidate_in_source, patch_of
from unvanish.race.deciding_metric import Comparison
from unvanish.race.race import KEPT, RaceSettings, ignore_stage, race
from unvanish.race.race_parts import planned_parts
from unvanish.race.verdicts import judge

__all__ = [
    "KEPT",
    "Candidate",
    "Comparison",
    "RaceSettings",
    "candidate_as_line",
    "candidate_in_source",
    "ignore_stage",
    "judge",
    "patch_of",
    "planned_parts",
    "race",
]
