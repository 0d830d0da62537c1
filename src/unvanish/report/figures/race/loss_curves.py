"""The losses of a race: a line for each trial, a colour for each candidate, the script as it is in grey."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from unvanish.record.run import Run
from unvanish.record.verdict import RaceResult, TrialResult
from unvanish.report.figures.palette import CATEGORIES, DASHES, QUIET
from unvanish.report.figures.picture import Picture, Table, canvas, titled
from unvanish.report.figures.run.loss import LOG10_RANGE
from unvanish.report.views import race_table
from unvanish.report.views.pareto_front import CONTROL
from unvanish.report.wording import numbers
from unvanish.report.wording.places import shortened

LOSS = "loss"
LABEL = 30
FEWEST_POINTS = 2
POINTS = 60  # of a line, so that several can be told apart
FEW_DECADES = 2.5  # up to which a logarithmic axis has room for labels at 1, 2 and 5


@dataclass(frozen=True, slots=True)
class _Group:
    """The trials of one candidate that have a curve, the first seed first; those of the control have no remedies."""

    name: str
    trials: tuple[TrialResult, ...]

    @property
    def last(self) -> float:
        """The mean of the final losses; infinite where one diverged."""
        values = [trial.final_loss for trial in self.trials]
        return sum(values) / len(values) if all(map(math.isfinite, values)) else math.inf


def curve_picture(run: Run) -> Picture | None:
    """The loss curves of the trials; None where fewer than two candidates have one. A candidate with which the loss means something
    else is left out, and said."""
    race = run.race
    if race is None:
        return None
    groups, other = _groups(race)
    if len(groups) < 2:
        return None
    said = f" Left out, since their loss means something else: {', '.join(other)}." if other else ""
    return Picture(
        name="curves",
        title=_title(race, groups),
        caption="One line for each trial, and a colour for each candidate; the script as it is in grey. A line that ends early was "
        f"stopped at a rung, or failed. Each line has at most {POINTS} points, means over its steps.{said}",
        alternative="Line chart of the loss over the steps: " + "; ".join(_spoken(group) for group in groups) + ".",
        figure=_figure(groups),
        table=_table(groups),
    )


def _groups(race: RaceResult) -> tuple[list[_Group], list[str]]:
    """The groups with curves, in the order of the table, the control last; and the candidates whose loss cannot be compared."""
    comparable = any(effect.metric == LOSS for effect in race_table.control(race))
    found: list[_Group] = []
    other: list[str] = []
    for row in race_table.rows(race):
        name = "" if row.verdict is None else row.name
        trials = tuple(t for t in race.trials if t.name == name and sum(map(math.isfinite, t.losses)) >= FEWEST_POINTS)
        if row.effect is not None and row.value(LOSS) is None and comparable:
            other.append(row.name)
        elif trials:
            found.append(_Group(row.name, tuple(sorted(trials, key=lambda trial: trial.seed))))
    return found, other


def _title(race: RaceResult, groups: Sequence[_Group]) -> str:
    control = next((group for group in groups if group.name == CONTROL), None)
    won = race_table.winner(race)
    found = next((group for group in groups if won is not None and group.name == won.name), None)
    if control is None or found is None:
        return "The loss of every trial, step by step"
    here, there = (numbers.figure(group.last) if math.isfinite(group.last) else "" for group in (found, control))
    if not there:
        return f"The loss diverges as it is; with {found.name} it ends at {here}"
    if not here or found.last >= control.last:
        return f"The loss of {found.name}, and of the script as it is"
    return f"The loss ends at {here} with {found.name}, and at {there} as it is"


def _figure(groups: Sequence[_Group]) -> go.Figure:
    finite = [loss for group in groups for trial in group.trials for loss in trial.losses if math.isfinite(loss)]
    decades = math.log10(max(finite)) - math.log10(min(finite)) if min(finite) > 0 else math.nan
    logarithmic = decades > LOG10_RANGE
    figure = canvas(
        360,
        x={"title": titled("step"), "showgrid": False, "tickformat": ",d"},
        y={
            "title": titled("loss (log axis)" if logarithmic else "loss"),
            "type": "log" if logarithmic else "linear",
            "exponentformat": "power",
            **({"dtick": "D2" if decades < FEW_DECADES else 1} if logarithmic else {}),
        },
        showlegend=True,
        legend={"orientation": "h", "y": -0.2, "x": 0, "yanchor": "top", "font": {"size": 12}},
    )
    # The control is drawn first, so that it covers no candidate, and stands last in the legend.
    for rank, group in sorted(enumerate(groups), key=lambda each: each[1].name != CONTROL):
        for place, trial in enumerate(group.trials):
            figure.add_trace(_drawn(group, trial, rank, named=place == 0))
    return figure


def _drawn(group: _Group, trial: TrialResult, rank: int, *, named: bool) -> go.Scatter:
    control = group.name == CONTROL
    blocks = np.array_split(np.asarray(trial.losses), min(len(trial.losses), POINTS))
    stride = trial.steps / len(trial.losses)
    ends = np.cumsum([len(block) for block in blocks]) * stride
    style = {"color": QUIET if control else CATEGORIES[rank % len(CATEGORIES)], "width": 1.5 if control else 1.8}
    return go.Scatter(
        x=[round(float(end) - len(block) * stride / 2 + 0.5, 1) for end, block in zip(ends, blocks, strict=True)],
        y=[float(mean) if np.isfinite(mean := block.mean()) else None for block in blocks],
        mode="lines",
        name=shortened(group.name, LABEL),
        legendgroup=group.name,
        legendrank=1000 + rank,
        showlegend=named,
        opacity=0.9,
        line=style | {"dash": "solid" if control else DASHES[rank % len(DASHES)]},
        hovertemplate=f"{group.name}, seed {trial.seed}, step %{{x:,.0f}}: %{{y:.4g}}<extra></extra>",
    )


def _table(groups: Sequence[_Group]) -> Table:
    rows = tuple(
        (group.name, str(trial.seed), f"{trial.steps:,}", _loss(trial.losses[0]), _loss(trial.final_loss))
        for group in groups
        for trial in group.trials
    )
    return Table(("change", "seed", "steps", "loss at first", "loss at the end"), rows)


def _spoken(group: _Group) -> str:
    steps = max(trial.steps for trial in group.trials)
    return f"{group.name} from {_loss(group.trials[0].losses[0])} to {_loss(group.last)} in {numbers.plural(steps, 'step')}"


def _loss(value: float) -> str:
    return numbers.figure(value, 4) if math.isfinite(value) else "not a number"
