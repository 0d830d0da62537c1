"""Builds the JSON document of a demo, schema 1: its outcome, its table, the data of its pictures, and every training."""

from __future__ import annotations

from typing import Any

from unvanish.record.demo_result import DemoResult, LineChart, RowChart, TableCell, TrainingRecord
from unvanish.report.json_document import SCHEMA_VERSION, round_or_none


def build_document(demo: DemoResult) -> dict[str, Any]:
    """The document of a demo, schema 1. NaN and infinities are null; a table's cell has its text beside its number.

    Keys: `schema`, `demo`, `command`, `standing`, `quick`, `claim`, `title`, `plain`, `call`, `seconds`, the table as `columns`,
    `rows` and `note`, the pictures as `boards` and `charts`, `trainings` and `facts`. Numbers have six significant digits.
    """
    summary = demo.summary
    return {
        "schema": SCHEMA_VERSION,
        "demo": demo.name,
        "command": demo.command,
        "standing": demo.outcome.value,
        "quick": demo.is_quick,
        "claim": summary.claim,
        "title": summary.title,
        "plain": summary.explanation,
        "call": summary.remedy_call,
        "seconds": round_or_none(demo.seconds),
        "columns": [" ".join(column.split("\n")) for column in summary.table.columns],
        "rows": [[_cell(cell) for cell in row] for row in summary.table.rows],
        "note": summary.table.note,
        "boards": [_build_row_chart(chart) for chart in summary.row_charts],
        "charts": [_build_line_chart(chart) for chart in summary.line_charts],
        "trainings": [_build_training(training) for training in demo.trainings],
        "facts": dict(demo.facts),
    }


def _cell(cell: TableCell) -> dict[str, Any]:
    return {"text": cell.text, "value": round_or_none(cell.value), "spread": round_or_none(cell.spread)}


def _build_row_chart(chart: RowChart) -> dict[str, Any]:
    panels = [
        {
            "axis": panel.axis,
            "marks": [
                {"name": series.name, "values": _numbers(series.values), "spreads": _numbers(series.spreads)}
                for series in panel.series
            ],
        }
        for panel in chart.panels
    ]
    return {"name": chart.name, "title": chart.title, "rows": list(chart.rows), "panels": panels}


def _build_line_chart(chart: LineChart) -> dict[str, Any]:
    lines = [{"name": line.name, "x": _numbers(line.x), "y": _numbers(line.y)} for line in chart.lines]
    return {"name": chart.name, "title": chart.title, "x": chart.x_label, "y": chart.y_label, "lines": lines}


def _build_training(training: TrainingRecord) -> dict[str, Any]:
    result = training.result
    return {
        "label": training.label,
        "seed": training.seed,
        "ending": result.ending.value,
        "said": result.error or None,
        "steps": result.steps,
        "planned": result.planned_steps,
        "seconds": round_or_none(result.seconds),
        "score": round_or_none(result.score),
        "measures": {name: round_or_none(value) for name, value in result.measures},
        "points": [[point.step, round_or_none(point.loss), round_or_none(point.score)] for point in result.history],
    }


def _numbers(values: tuple[float | None, ...] | tuple[float, ...]) -> list[float | None]:
    return [round_or_none(value) for value in values]
