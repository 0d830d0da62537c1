"""Builds the rows of the table of remedies before any training: predicted and traced decades of gradient, and parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass

from unvanish.record.network_changes import Prescription, RemedyForecast
from unvanish.report.wording import numbers

MAX_CANDIDATES = 8  # candidates that can act; the record has all
MAX_REFUSALS = 3  # candidates that cannot, named with the reason
NOT_MEASURED = "–"


@dataclass(frozen=True, slots=True)
class ForecastRow:
    """One candidate as text: its remedies, the decades of gradient predicted and traced, and the change in parameters."""

    name: str
    predicted: str
    traced: str
    parameters: str


def format_title(prescription: Prescription) -> str:
    """What the table shows, in two sentences, with the decades of the untouched network."""
    predicted, traced = format_decades(prescription.predicted), format_decades(prescription.traced)
    return (
        "What each remedy would do to the gradient at the start, before any training: decades between the output and the input, by "
        f"theory and by one exact look. As the network is: {predicted} and {traced}."
    )


def build_rows(prescription: Prescription) -> list[ForecastRow]:
    """The candidates that can act, best first."""
    return [_build_row(candidate) for candidate in prescription.candidates if not candidate.refusal][:MAX_CANDIDATES]


def list_refusals(prescription: Prescription) -> list[str]:
    """Why some candidates cannot act, one text for each."""
    refused = [candidate for candidate in prescription.candidates if candidate.refusal]
    return [f"{' + '.join(candidate.remedies)}: {candidate.refusal}" for candidate in refused][:MAX_REFUSALS]


def _build_row(candidate: RemedyForecast) -> ForecastRow:
    change = candidate.parameters - 1.0
    size = "0 %" if abs(change) < 0.005 else f"{change:+.0%}".replace("%", " %").replace("-", "−")
    return ForecastRow(" + ".join(candidate.remedies), format_decades(candidate.predicted), format_decades(candidate.traced), size)


def format_decades(value: float | None) -> str:
    """Decades with sign and one decimal; a dash where there is no number, "none arrives" for infinities."""
    if value is None or math.isnan(value):
        return NOT_MEASURED
    return numbers.typeset(f"{value:+.1f}") if math.isfinite(value) else "none arrives"
