"""Remedies compete over trials against the untouched script, and a referee says what that proves. It trains nothing itself."""

from unvanish.race.compared import Comparison
from unvanish.race.parts import planned_parts
from unvanish.race.race import KEPT, Course, race, unheard
from unvanish.race.referee import judge
from unvanish.race.treatments import Treatment, line_treatment, patch_of, treatment

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
