"""Builds the loss curves of a race: a line for each trial, a colour for each candidate, the script as it is in grey."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from unvanish.record.races.verdict import RaceResult, TrialResult
from unvanish.record.run import Run
from unvanish.report.figures.palette import CATEGORIES, DASHES, QUIET
from unvanish.report.figures.picture import Picture, Table, build_axis_title, build_empty_figure
from unvanish.report.figures.run.loss import LOG10_RANGE
from unvanish.report.views import race_table
from unvanish.report.views.pareto_front import CONTROL_NAME
from unvanish.report.wording import numbers
from unvanish.report.wording.locations import shorten_label

LOSS = "loss"
LABEL_WIDTH = 30  # characters
MIN_POINTS = 2
MAX_POINTS = 60  # of a line, so that several can be told apart
DENSE_TICK_DECADES = 2.5  # up to this range a logarithmic axis has room for labels at 1, 2 and 5


@dataclass(frozen=True, slots=True)
class _Group:
    """The trials of one candidate, or of the control, that have a loss curve, in the order of their seeds."""

    name: str
    trials: tuple[TrialResult, ...]

    @property
    def final_loss(self) -> float:
        """The mean of the trials' final losses; infinite where one diverged."""
        values = [trial.final_loss for trial in self.trials]
        return sum(values) / len(values) if all(map(math.isfinite, values)) else math.inf


def build_loss_curves_picture(run: Run) -> Picture | None:
    """The loss curves of the trials; None where fewer than two candidates have one.

    Candidates whose loss cannot be compared with the control's are left out and named in the caption.
    """
    race = run.race
    if race is None:
        return None
    groups, incomparable = _group_trials(race)
    if len(groups) < 2:
        return None
    omission_note = f" Left out, since their loss means something else: {', '.join(incomparable)}." if incomparable else ""
    return Picture(
        name="curves",
        title=_title(race, groups),
        caption="One line for each trial, and a colour for each candidate; the script as it is in grey. A line that ends early was "
        f"stopped at a rung, or failed. Each line has at most {MAX_POINTS} points, means over its steps.{omission_note}",
        text_alternative="Line chart of the loss over the steps: " + "; ".join(_describe_group(group) for group in groups) + ".",
        figure=_figure(groups),
        table=_table(groups),
    )


def _group_trials(race: RaceResult) -> tuple[list[_Group], list[str]]:
    """The groups with curves, in the order of the table, the control last; and the candidates whose loss cannot be compared."""
    is_loss_compared = any(effect.metric == LOSS for effect in race_table.get_control_effects(race))
    groups: list[_Group] = []
    incomparable: list[str] = []
    for row in race_table.build_rows(race):
        name = "" if row.verdict is None else row.name
        trials = tuple(t for t in race.trials if t.name == name and sum(map(math.isfinite, t.losses)) >= MIN_POINTS)
        if row.effect is not None and row.get_mean_and_spread(LOSS) is None and is_loss_compared:
            incomparable.append(row.name)
        elif trials:
            groups.append(_Group(row.name, tuple(sorted(trials, key=lambda trial: trial.seed))))
    return groups, incomparable


def _title(race: RaceResult, groups: Sequence[_Group]) -> str:
    control = next((group for group in groups if group.name == CONTROL_NAME), None)
    winner = race_table.find_winner(race)
    best = next((group for group in groups if winner is not None and group.name == winner.name), None)
    if control is None or best is None:
        return "The loss of every trial, step by step"
    best_loss, control_loss = (
        numbers.format_number(group.final_loss) if math.isfinite(group.final_loss) else "" for group in (best, control)
    )
    if not control_loss:
        return f"The loss diverges as it is; with {best.name} it ends at {best_loss}"
    if not best_loss or best.final_loss >= control.final_loss:
        return f"The loss of {best.name}, and of the script as it is"
    return f"The loss ends at {best_loss} with {best.name}, and at {control_loss} as it is"


def _figure(groups: Sequence[_Group]) -> go.Figure:
    finite = [loss for group in groups for trial in group.trials for loss in trial.losses if math.isfinite(loss)]
    decades = math.log10(max(finite)) - math.log10(min(finite)) if min(finite) > 0 else math.nan
    logarithmic = decades > LOG10_RANGE
    figure = build_empty_figure(
        360,
        x={"title": build_axis_title("step"), "showgrid": False, "tickformat": ",d"},
        y={
            "title": build_axis_title("loss (log axis)" if logarithmic else "loss"),
            "type": "log" if logarithmic else "linear",
            "exponentformat": "power",
            **({"dtick": "D2" if decades < DENSE_TICK_DECADES else 1} if logarithmic else {}),
        },
        showlegend=True,
        legend={"orientation": "h", "y": -0.2, "x": 0, "yanchor": "top", "font": {"size": 12}},
    )
    # The control is drawn first, so that it covers no candidate, and is last in the legend.
    for rank, group in sorted(enumerate(groups), key=lambda ranked: ranked[1].name != CONTROL_NAME):
        for index, trial in enumerate(group.trials):
            figure.add_trace(_build_line(group, trial, rank, in_legend=index == 0))
    return figure


def _build_line(group: _Group, trial: TrialResult, rank: int, *, in_legend: bool) -> go.Scatter:
    is_control = group.name == CONTROL_NAME
    blocks = np.array_split(np.asarray(trial.losses), min(len(trial.losses), MAX_POINTS))
    stride = trial.steps / len(trial.losses)
    ends = np.cumsum([len(block) for block in blocks]) * stride
    style = {"color": QUIET if is_control else CATEGORIES[rank % len(CATEGORIES)], "width": 1.5 if is_control else 1.8}
    return go.Scatter(
        x=[round(float(end) - len(block) * stride / 2 + 0.5, 1) for end, block in zip(ends, blocks, strict=True)],
        y=[float(mean) if np.isfinite(mean := block.mean()) else None for block in blocks],
        mode="lines",
        name=shorten_label(group.name, LABEL_WIDTH),
        legendgroup=group.name,
        legendrank=1000 + rank,
        showlegend=in_legend,
        opacity=0.9,
        line=style | {"dash": "solid" if is_control else DASHES[rank % len(DASHES)]},
        hovertemplate=f"{group.name}, seed {trial.seed}, step %{{x:,.0f}}: %{{y:.4g}}<extra></extra>",
    )


def _table(groups: Sequence[_Group]) -> Table:
    rows = tuple(
        (group.name, str(trial.seed), f"{trial.steps:,}", _format_loss(trial.losses[0]), _format_loss(trial.final_loss))
        for group in groups
        for trial in group.trials
    )
    return Table(("change", "seed", "steps", "loss at first", "loss at the end"), rows)


def _describe_group(group: _Group) -> str:
    steps = max(trial.steps for trial in group.trials)
    first_loss, final_loss = _format_loss(group.trials[0].losses[0]), _format_loss(group.final_loss)
    return f"{group.name} from {first_loss} to {final_loss} in {numbers.pluralise(steps, 'step')}"


def _format_loss(value: float) -> str:
    return numbers.format_number(value, 4) if math.isfinite(value) else "not a number"
