"""A demo as JSON, schema 1: its outcome, its table, its pictures and every training. It opens no file."""

from __future__ import annotations

from typing import Any

from unvanish.record.demo_result import Board, Cell, Chart, Demonstration, Trained
from unvanish.report.json_document import SCHEMA, rounded


def document(shown: Demonstration) -> dict[str, Any]:
    """The document. What is not a number is null; a cell keeps its words beside its number."""
    story = shown.story
    return {
        "schema": SCHEMA,
        "demo": shown.name,
        "command": shown.command,
        "standing": shown.standing.value,
        "quick": shown.quick,
        "claim": story.claim,
        "title": story.title,
        "plain": story.plain,
        "call": story.call,
        "seconds": rounded(shown.seconds),
        "columns": [" ".join(column.split("\n")) for column in story.sheet.columns],
        "rows": [[_cell(cell) for cell in row] for row in story.sheet.rows],
        "note": story.sheet.note,
        "boards": [_board(board) for board in story.boards],
        "charts": [_chart(chart) for chart in story.charts],
        "trainings": [_trained(trained) for trained in shown.trainings],
        "facts": dict(shown.facts),
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {"text": cell.text, "value": rounded(cell.value), "spread": rounded(cell.spread)}


def _board(board: Board) -> dict[str, Any]:
    panels = [
        {
            "axis": panel.axis,
            "marks": [
                {"name": marks.name, "values": _numbers(marks.values), "spreads": _numbers(marks.spreads)} for marks in panel.marks
            ],
        }
        for panel in board.panels
    ]
    return {"name": board.name, "title": board.title, "rows": list(board.rows), "panels": panels}


def _chart(chart: Chart) -> dict[str, Any]:
    lines = [{"name": line.name, "x": _numbers(line.x), "y": _numbers(line.y)} for line in chart.lines]
    return {"name": chart.name, "title": chart.title, "x": chart.x, "y": chart.y, "lines": lines}


def _trained(trained: Trained) -> dict[str, Any]:
    course = trained.course
    return {
        "label": trained.label,
        "seed": trained.seed,
        "ending": course.ending.value,
        "said": course.said or None,
        "steps": course.steps,
        "planned": course.planned,
        "seconds": rounded(course.seconds),
        "score": rounded(course.score),
        "measures": {name: rounded(value) for name, value in course.measures},
        "points": [[point.step, rounded(point.loss), rounded(point.score)] for point in course.points],
    }


def _numbers(values: tuple[float | None, ...] | tuple[float, ...]) -> list[float | None]:
    return [rounded(value) for value in values]
