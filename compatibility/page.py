"""Writes the table as a page of the documentation: a mark a cell, and a line for each that is not green."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Collection, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version

from compatibility.row import COLUMNS, Row, RowResult, State

MARKS = {State.YES: "yes", State.NO: "**no**", State.DOES_NOT_APPLY: "–"}
NOT_MEASURED = "?"
NAMED_PACKAGES = (
    *("torch", "lightning", "transformers", "accelerate", "keras", "skorch", "fastai", "pytorch-ignite", "torch-geometric"),
    *("stable-baselines3", "gymnasium", "hydra-core", "numpy", "scikit-learn"),
)
OPENING = """# Compatibility

What people train with, really run: each row is a small program in the manner of its framework's own documentation
(`compatibility/programs`), healthy and as a sick twin. `make compatibility` runs every row in an environment of its own, with
pinned packages, and writes this page. Every process has one thread, and a home folder and a folder for temporary files of its own.
"""


def format_page(
    rows: Sequence[Row], results: dict[str, RowResult], measured_on: datetime.date, *, stale: Collection[str] = ()
) -> str:
    """The page, in Markdown; `stale` are the rows that were measured with other sources than the present ones."""
    parts = [OPENING, format_versions(measured_on), "## What the columns mean", format_columns()]
    for group in dict.fromkeys(row.group for row in rows):
        members = [row for row in rows if row.group == group]
        parts += [f"## {group}", format_table(members, results, stale)]
        if notes := list(format_notes(members, results)):
            parts.append("\n".join(notes))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def format_versions(measured_on: datetime.date) -> str:
    """When the cells were measured, and with what."""
    packages = ", ".join(f"{name} {found}" for name in NAMED_PACKAGES if (found := installed_version(name)))
    return f"Written {measured_on.isoformat()} with Python {platform.python_version()} on {platform.system()}: {packages}."


def installed_version(package: str) -> str:
    """The version of a package here, "" where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def format_columns() -> str:
    """A list of the columns, and what stands in a cell."""
    legend = (
        "A dash: does not apply, and the line below the table says why. A question mark: not measured yet. A star: measured with "
        "sources that have changed since."
    )
    return "\n".join(f"- **{column.heading}**: {column.meaning}." for column in COLUMNS) + f"\n\n{legend}"


def format_table(rows: Iterable[Row], results: dict[str, RowResult], stale: Collection[str]) -> str:
    """A table of rows."""
    lines = [
        f"| row | program | {' | '.join(column.heading for column in COLUMNS)} |",
        f"| --- | --- | {' | '.join(':-:' for _ in COLUMNS)} |",
    ]
    for row in rows:
        cells = [results[row.name].cells.get(column.name) if row.name in results else None for column in COLUMNS]
        star = "\\*" if row.name in stale else ""
        marks = [f"{MARKS[cell.state]}{star}" if cell is not None else NOT_MEASURED for cell in cells]
        lines.append(f"| `{row.name}` | {row.title} | {' | '.join(marks)} |")
    return "\n".join(lines)


def format_notes(rows: Iterable[Row], results: dict[str, RowResult]) -> Iterable[str]:
    """A line for each row that has a cell which is not green, and says why."""
    for row in rows:
        cells = results[row.name].cells if row.name in results else {}
        reasons: dict[str, list[str]] = {}
        for column in COLUMNS:
            cell = cells.get(column.name)
            if cell is not None and cell.state is not State.YES and cell.detail:
                reasons.setdefault(one_line(cell.detail), []).append(column.heading)
        if reasons:
            yield f"- `{row.name}`: " + "; ".join(f"{', '.join(headings)}: {reason}" for reason, headings in reasons.items()) + "."


def one_line(text: str) -> str:
    """Text in one line of a list, without what Markdown would take for its own."""
    return " ".join(text.replace("|", "/").replace("`", "'").replace("*", "").split()).rstrip(".")
