"""Builds the chart of a race's effects: for each candidate the improvement on the untouched script, with its 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Mapping

import plotly.graph_objects as go

from unvanish.record.races.verdict import Effect, Outcome, RaceResult
from unvanish.record.run import Run
from unvanish.report.figures.palette import BETTER, CURED, NO_BETTER, QUIET, WORSE
from unvanish.report.figures.picture import Picture, Table, build_axis_title, build_empty_figure
from unvanish.report.views import race_table
from unvanish.report.wording import numbers
from unvanish.report.wording.locations import shorten_label

OUTCOME_COLOURS: Mapping[Outcome, str] = {
    Outcome.CURED: CURED,
    Outcome.BETTER: BETTER,
    Outcome.SAME: NO_BETTER,
    Outcome.WORSE: WORSE,
    Outcome.FAILED: WORSE,
}
OUTCOME_SYMBOLS: Mapping[Outcome, str] = {
    Outcome.CURED: "circle",
    Outcome.BETTER: "diamond",
    Outcome.SAME: "circle-open",
    Outcome.WORSE: "triangle-down",
    Outcome.FAILED: "x",
}
CONTROL_SYMBOL = "square"

LABEL_WIDTH = 22  # characters


def build_effects_picture(run: Run) -> Picture | None:
    """Dot and 95 % interval for each candidate on the deciding metric, or None where no interval is finite."""
    if run.race is None:
        return None
    metric = next(iter(race_table.list_metrics(run.race)), "")
    compared = [
        (row.name, row.verdict.outcome, row.effect)
        for row in race_table.build_rows(run.race)
        if row.verdict is not None and row.is_compared and row.effect is not None and row.effect.metric == metric
    ]
    compared = [entry for entry in compared if all(map(math.isfinite, entry[2].interval))]
    if not compared:
        return None
    return Picture(
        name="race",
        title=_title(run.race, compared),
        caption=f"Improvement in {metric} over the untouched script on the same seeds: dot for the mean, line for its 95 % "
        "interval. A line that crosses zero proves nothing.",
        text_alternative=f"Dot chart of the improvement in {metric}: "
        + "; ".join(f"{name} {_format_effect(effect)}, {outcome}" for name, outcome, effect in compared)
        + ".",
        figure=_figure(compared, metric),
        table=_table(compared),
    )


def _title(race: RaceResult, compared: list[tuple[str, Outcome, Effect]]) -> str:
    winner = race_table.find_winner(race)
    if winner is None:
        return "No interval lies wholly above zero: nothing is proved to be better than the script as it is"
    effect = next((effect for name, _, effect in compared if name == winner.name), None)
    if effect is None:
        return "What each change improves, and how sure that is"
    return f"{winner.name} improves {effect.metric} by {_format_effect(effect)}"


def _format_effect(effect: Effect) -> str:
    return f"{numbers.format_signed(effect.effect)} {numbers.format_interval(*effect.interval)}"


def _figure(compared: list[tuple[str, Outcome, Effect]], metric: str) -> go.Figure:
    rows = list(range(len(compared)))[::-1]
    figure = build_empty_figure(
        90 + 40 * len(rows),
        x={"title": build_axis_title(f"improvement in {metric}"), "zeroline": True, "zerolinecolor": QUIET, "rangemode": "tozero"},
        y={
            "tickvals": rows,
            "ticktext": [shorten_label(name, LABEL_WIDTH) for name, _, _ in compared],
            "range": [-0.6, len(rows) - 0.4],
            "showgrid": False,
        },
    )
    for row, (name, outcome, effect) in zip(rows, compared, strict=True):
        low, high = effect.interval
        figure.add_trace(
            go.Scatter(
                x=[effect.effect],
                y=[row],
                mode="markers",
                marker={"color": OUTCOME_COLOURS[outcome], "symbol": OUTCOME_SYMBOLS[outcome], "size": 12},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [high - effect.effect],
                    "arrayminus": [effect.effect - low],
                    "color": OUTCOME_COLOURS[outcome],
                    "thickness": 3,
                    "width": 6,
                },
                hovertemplate=f"{name}: {_format_effect(effect)}, {outcome}<extra></extra>",
            )
        )
    return figure


def _table(compared: list[tuple[str, Outcome, Effect]]) -> Table:
    rows = tuple(
        (
            name,
            numbers.format_number(e.control),
            numbers.format_number(e.treated),
            numbers.format_signed(e.effect),
            numbers.format_interval(*e.interval),
            str(outcome),
        )
        for name, outcome, e in compared
    )
    return Table(("change", "as it is", "changed", "improvement", "95 % interval", "outcome"), rows)
