"""Races candidates against the untouched script, by successive halving and then on further seeds, and says what that proves."""

from unvanish.race.candidates import EditedCandidate, edit_source, insert_apply_line, write_patch
from unvanish.race.checkpoint_proof import checkpoint_prover
from unvanish.race.deciding_metric import Comparison
from unvanish.race.planned_parts import plan_parts
from unvanish.race.race import KEPT, RaceSettings, ignore_part, race
from unvanish.race.verdicts import judge

__all__ = [
    "KEPT",
    "Comparison",
    "EditedCandidate",
    "RaceSettings",
    "checkpoint_prover",
    "edit_source",
    "ignore_part",
    "insert_apply_line",
    "judge",
    "plan_parts",
    "race",
    "write_patch",
]
