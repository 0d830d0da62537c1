"""What a race on a known training proved about a remedy: the evidence that is stored with the package, as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, cast

from unvanish.record.races.verdict import Effect, Outcome
from unvanish.record.storage.serialisation import from_plain, to_plain

DIGITS = 5  # significant ones that are kept


@dataclass(frozen=True, slots=True)
class StoredRace:
    """Remedies against the untouched network, on one training with equal seeds and data order.

    `network` and `data` say what was trained, and how. `step_time` and `parameters` are ratios to the control. `outcome` is better
    or worse where the interval of the effect leaves zero out, and same where it does not.
    """

    remedies: tuple[str, ...]
    network: str
    data: str
    outcome: Outcome
    effect: Effect
    seeds: int
    steps: int
    step_time: float
    parameters: float

    @property
    def name(self) -> str:
        """The remedies as people write them: "relu + he-init"."""
        return " + ".join(self.remedies)


def outcome_of(effect: Effect) -> Outcome:
    """What an effect proves by its interval alone."""
    low, high = effect.interval
    return Outcome.BETTER if low > 0 else Outcome.WORSE if high < 0 else Outcome.SAME


def dumps(races: tuple[StoredRace, ...]) -> str:
    """Races as JSON text, a number with five digits; one that is not finite is a string."""
    return json.dumps([_short(to_plain(race)) for race in races], indent=1, ensure_ascii=False) + "\n"


def loads(text: str) -> tuple[StoredRace, ...]:
    """The inverse of `dumps`. Raises RecordError where the text holds other fields."""
    return tuple(from_plain(StoredRace, each) for each in json.loads(text))


def _short(plain: Any) -> Any:
    if isinstance(plain, float):
        return float(f"{plain:.{DIGITS}g}") if math.isfinite(plain) else str(plain)
    if isinstance(plain, dict):
        return {name: _short(value) for name, value in cast("dict[str, Any]", plain).items()}
    if isinstance(plain, list):
        return [_short(value) for value in cast("list[Any]", plain)]
    return plain
