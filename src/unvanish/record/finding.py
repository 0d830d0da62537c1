"""What a rule found: a named problem, its sites, its cause, the figures that show it, and what to do."""

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
        """Whether it is a warning or worse, so that a person has to act."""
        return self is not Severity.INFO


class Trend(StrEnum):
    """How a problem develops towards the end of what was observed."""

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
    """Why it happened: the code of a finding or of another named cause, and the share of the effect that it accounts for, 0 to 1
    (None: not apportioned)."""

    code: str
    share: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """A named problem.

    Arguments:
        code: which problem, such as "vanishing-gradient"; a code never changes its meaning.
        severity: how much it matters.
        confidence: from 0 to 1.
        summary: one sentence that a layman understands.
        why: the explanation for an expert, with its numbers.
        advice: what to do.
        sites: labels of the sites concerned, from the input to the output.
        cause: why it happened; None where that is not known.
        evidence: the figures behind it, each with its threshold.
        symptoms: codes of findings that this one explains.
        remedies: names in order of preference; names joined by " + " belong together.
        began: the first sampled step that shows it.
        location: the line of the user's source to look at.
        trend: whether it was getting worse at the end.

    Example:
        >>> finding = Finding("dead-units", Severity.WARNING, 0.9, "Half of the units are silent.", "48 % of net.3.")
        >>> finding.severity.loud
        True
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
