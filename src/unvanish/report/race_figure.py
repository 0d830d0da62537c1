"""The picture of a race: for each candidate, how much it improves on the untouched script, with the interval of that figure."""

from __future__ import annotations

from collections.abc import Mapping

import plotly.graph_objects as go

from unvanish.record.run import Run
from unvanish.record.verdict import Effect, Outcome, RaceResult
from unvanish.report import numbers, race_table
from unvanish.report.palette import BETTER, CURED, NO_BETTER, QUIET, WORSE
from unvanish.report.picture import Picture, Table, canvas, titled
from unvanish.report.places import shortened

COLOURS: Mapping[Outcome, str] = {
    Outcome.CURED: CURED,
    Outcome.BETTER: BETTER,
    Outcome.SAME: NO_BETTER,
    Outcome.WORSE: WORSE,
    Outcome.FAILED: WORSE,
}
SYMBOLS: Mapping[Outcome, str] = {
    Outcome.CURED: "circle",
    Outcome.BETTER: "diamond",
    Outcome.SAME: "circle-open",
    Outcome.WORSE: "triangle-down",
    Outcome.FAILED: "x",
}

LABEL = 22


def race_picture(run: Run) -> Picture | None:
    """Dot and 95 % interval for each candidate on the deciding metric, or None where nothing was raced to an end."""
    if run.race is None:
        return None
    compared = [
        (row.name, row.verdict.outcome, row.effect)
        for row in race_table.rows(run.race)
        if row.verdict is not None and row.effect is not None
    ]
    compared = [entry for entry in compared if entry[2].metric == compared[0][2].metric]
    if not compared:
        return None
    metric = compared[0][2].metric
    return Picture(
        name="race",
        title=_title(run.race),
        caption=f"Improvement in {metric} over the untouched script on the same seeds: dot for the mean, line for its 95 % "
        "interval. A line that crosses zero proves nothing.",
        alternative=f"Dot chart of the improvement in {metric}: "
        + "; ".join(
            f"{name} {numbers.signed(e.effect)} {numbers.interval(*e.interval)}, {outcome}" for name, outcome, e in compared
        )
        + ".",
        figure=_figure(compared, metric),
        table=_table(compared),
    )


def _title(race: RaceResult) -> str:
    raced = numbers.word(len(race.verdicts)).capitalize()
    noun = "change was" if len(race.verdicts) == 1 else "changes were"
    found = race_table.winner(race)
    if found is None:
        return f"{raced} {noun} raced against the script as it is; none helped"
    return f"{raced} {noun} raced; {found.name} is the cheapest that is as good as the best"


def _figure(compared: list[tuple[str, Outcome, Effect]], metric: str) -> go.Figure:
    rows = list(range(len(compared)))[::-1]
    figure = canvas(
        90 + 40 * len(rows),
        x={"title": titled(f"improvement in {metric}"), "zeroline": True, "zerolinecolor": QUIET},
        y={
            "tickvals": rows,
            "ticktext": [shortened(name, LABEL) for name, _, _ in compared],
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
                marker={"color": COLOURS[outcome], "symbol": SYMBOLS[outcome], "size": 12},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [high - effect.effect],
                    "arrayminus": [effect.effect - low],
                    "color": COLOURS[outcome],
                    "thickness": 3,
                    "width": 6,
                },
                hovertemplate=f"{name}: {numbers.signed(effect.effect)} {numbers.interval(low, high)}, {outcome}<extra></extra>",
            )
        )
    return figure


def _table(compared: list[tuple[str, Outcome, Effect]]) -> Table:
    rows = tuple(
        (
            name,
            numbers.figure(e.control),
            numbers.figure(e.treated),
            numbers.signed(e.effect),
            numbers.interval(*e.interval),
            str(outcome),
        )
        for name, outcome, e in compared
    )
    return Table(("change", "as it is", "changed", "improvement", "95 % interval", "outcome"), rows)
