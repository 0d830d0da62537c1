"""What a rule found: a named problem, where it sits, its cause, and the figures that show it. It carries its own prose."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from unvanish.record.structure import Location


class Severity(StrEnum):
    """How much a finding matters. A healthy network has nothing at `warning` or above."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def loud(self) -> bool:
        """Whether a person must be told."""
        return self is not Severity.INFO


class Trend(StrEnum):
    """Where an illness is going, towards the end of what was seen."""

    WORSENING = "worsening"
    STEADY = "steady"
    EASING = "easing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One figure behind a finding: the value, the threshold it crossed, and where that threshold comes from."""

    quantity: str
    value: float
    unit: str
    threshold: float | None
    source: str
    site: str | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """Why it happened: a code of the design, and the share of the effect that it accounts for (0..1, None: not apportioned)."""

    code: str
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A named problem.

    `summary` is one sentence that a layman understands; `why` is the explanation for an expert, with its numbers;
    `advice` says what to do. `sites` run from the input to the output. `symptoms` are codes of findings that this one
    explains. `remedies` are names in order of preference; names joined by " + " belong together. `began` is the first
    sampled step that shows it, and `trend` whether it was getting worse at the end.
    """

    code: str
    severity: Severity
    confidence: float
    summary: str
    why: str
    advice: str = ""
    sites: tuple[str, ...] = ()
    cause: Cause | None = None
    evidence: tuple[Evidence, ...] = ()
    symptoms: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    began: int | None = None
    location: Location | None = None
    trend: Trend = Trend.UNKNOWN
