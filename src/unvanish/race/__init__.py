"""Remedies compete over trials against the untouched script, and a referee says what that proves. It trains nothing itself."""

from unvanish.race.race import race
from unvanish.race.referee import judge

__all__ = ["judge", "race"]
