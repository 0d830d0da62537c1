"""What each remedy would do, before any training: rows of words for the terminal and the page. It weighs nothing anew."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unvanish.record.change import Prescription, RemedyForecast
from unvanish.report.wording import numbers

SHOWN = 8  # candidates that act; the record has all
REFUSED = 3  # candidates that do not, named with the reason
NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate: its remedies, the decades of the gradient as foretold and as traced, and its size against the network's."""

    name: str
    foretold: str
    traced: str
    parameters: str


def title(prescription: Prescription) -> str:
    """What the table shows, in a sentence."""
    return (
        "What each remedy would do to the gradient at the start, before any training: decades between the output and the input, by "
        f"theory and by one exact look. As the network is: {_decades(prescription.foretold)} and {_decades(prescription.traced)}."
    )


def rows(prescription: Prescription) -> list[Row]:
    """The candidates that can act, best first."""
    return [_row(candidate) for candidate in prescription.candidates if not candidate.refusal][:SHOWN]


def refusals(prescription: Prescription) -> list[str]:
    """Why some candidates cannot act, a line each."""
    refused = [candidate for candidate in prescription.candidates if candidate.refusal]
    return [f"{' + '.join(candidate.remedies)}: {candidate.refusal}" for candidate in refused][:REFUSED]


def render_prescription(prescription: Prescription) -> RenderableType:
    """The table for a terminal, indented as the lines of a verdict."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("remedy", no_wrap=True)
    for heading in ("theory", "traced", "params"):
        table.add_column(heading, justify="right", no_wrap=True)
    for number, row in enumerate(rows(prescription)):
        table.add_row(row.name, row.foretold, row.traced, row.parameters, style="bold" if not number else "")
    table.add_row("as it is", _decades(prescription.foretold), _decades(prescription.traced), "", style="dim")
    said = Text("Before any training, decades that the gradient loses (-) or gains (+) with each remedy:")
    aside = [Text(f"cannot: {line}", style="dim") for line in refusals(prescription)]
    return Padding(Group(said, "", table, *aside), (0, 0, 0, 2))


def _row(candidate: RemedyForecast) -> Row:
    change = candidate.parameters - 1.0
    size = "0 %" if abs(change) < 0.005 else f"{change:+.0%}".replace("%", " %").replace("-", "−")
    return Row(" + ".join(candidate.remedies), _decades(candidate.foretold), _decades(candidate.traced), size)


def _decades(value: float | None) -> str:
    if value is None or math.isnan(value):
        return NOTHING
    return numbers.typeset(f"{value:+.1f}") if math.isfinite(value) else "none arrives"
