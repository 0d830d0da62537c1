"""Renders the predicted effect of each remedy as a table for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unvanish.record.network_changes import Prescription
from unvanish.report.views.prescription import build_rows, format_decades, list_refusals


def render_prescription(prescription: Prescription) -> RenderableType:
    """The table for a terminal, with the untouched network as its last row, indented like a verdict."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("remedy", no_wrap=True)
    for header in ("theory", "traced", "params"):
        table.add_column(header, justify="right", no_wrap=True)
    for number, row in enumerate(build_rows(prescription)):
        table.add_row(row.name, row.predicted, row.traced, row.parameters, style="bold" if not number else "")
    table.add_row("as it is", format_decades(prescription.predicted), format_decades(prescription.traced), "", style="dim")
    introduction = Text("Before any training, decades that the gradient loses (-) or gains (+) with each remedy:")
    refusals = [Text(f"cannot: {refusal}", style="dim") for refusal in list_refusals(prescription)]
    return Padding(Group(introduction, "", table, *refusals), (0, 0, 0, 2))
