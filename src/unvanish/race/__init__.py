"""Remedies compete over trials against the untouched script, and a referee says what that proves. It trains nothing itself."""

from unvanish.race.compared import Comparison
from unvanish.race.parts import planned_parts
from unvanish.race.race import KEPT, Course, race, unheard
from unvanish.race.referee import judge
from unvanish.race.treatments import Treatment, patch_of, rate_treatment, treatment

__all__ = [
    "KEPT",
    "Comparison",
    "Course",
    "Treatment",
    "judge",
    "patch_of",
    "planned_parts",
    "race",
    "rate_treatment",
    "treatment",
    "unheard",
]
