"""Remedies compete over trials against the untouched script, and a referee says what that proves. It trains nothing itself."""

from unvanish.race.candidates import Treatment, line_treatment, patch_of, treatment
from unvanish.race.deciding_metric import Comparison
from unvanish.race.race import KEPT, Course, race, unheard
from unvanish.race.race_parts import planned_parts
from unvanish.race.verdicts import judge

__all__ = [
    "KEPT",
    "Comparison",
    "Course",
    "Treatment",
    "judge",
    "line_treatment",
    "patch_of",
    "planned_parts",
    "race",
    "treatment",
    "unheard",
]
