"""Renders the plan of a race for the terminal: candidates in order with reason and edit, the parts of the race, and its cost."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unvanish.record.races.race_plan import IN_PLACE, PlannedCandidate, RacePlan
from unvanish.report.wording import numbers


def render_plan(plan: RacePlan) -> RenderableType:
    """The candidates, best first, with the refused remedies; the parts of the race; and its cost in sentences."""
    if not plan.candidates:
        return Padding(Group(Text("Nothing would be raced."), *_list_refusals(plan)), (0, 0, 0, 2))
    return Padding(
        Group(
            Text(f"What would be tried on {plan.script}, in this order:"),
            "",
            _build_candidate_table(plan),
            *_list_refusals(plan),
            "",
            _build_part_table(plan),
            "",
            *(Text(sentence) for sentence in _describe_cost(plan)),
        ),
        (0, 0, 0, 2),
    )


def _build_candidate_table(plan: RacePlan) -> Table:
    table = _build_empty_table()
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("remedy", max_width=34)
    table.add_column("because of")
    table.add_column("edit")
    for number, planned in enumerate(plan.candidates, start=1):
        table.add_row(str(number), Text(planned.name), planned.finding or "you asked for it", _format_edit(planned))
    return table


def _format_edit(planned: PlannedCandidate) -> str:
    return (
        f"{planned.edit}, {numbers.pluralise(planned.lines, 'line')}"
        if planned.lines and planned.edit == IN_PLACE
        else planned.edit
    )


def _list_refusals(plan: RacePlan) -> list[Text]:
    return [Text(f"cannot: {name}: {reason}", style="dim") for name, reason in plan.refused]


def _build_part_table(plan: RacePlan) -> Table:
    table = _build_empty_table()
    table.add_column("part", overflow="fold")
    for header in ("trials", "steps each", "steps"):
        table.add_column(header, justify="right", no_wrap=True)
    for part in plan.parts:
        text = f"if no cure is in sight: {part.text}" if part.if_needed else part.text
        table.add_row(
            text, str(part.trials), f"{part.ends - part.begins:,}", f"{part.steps:,}", style="dim" if part.if_needed else ""
        )
    return table


def _describe_cost(plan: RacePlan) -> list[str]:
    one_run = numbers.pluralise(plan.steps, "step")
    if math.isfinite(plan.seconds):
        one_run += f", {numbers.format_duration(plan.seconds)}"
    steps, time = _format_steps(plan, plan.cost_steps), _format_time(plan, plan.cost_steps)
    sentences = [f"In all {steps} one run of the script ({one_run}){time}."]
    if plan.most_steps > plan.cost_steps:
        steps, time = _format_steps(plan, plan.most_steps), _format_time(plan, plan.most_steps)
        sentences.append(f"At most, if no cure is in sight, {steps} one run{time}.")
    return sentences


def _format_steps(plan: RacePlan, steps: int) -> str:
    return f"{numbers.pluralise(steps, 'step')}, {numbers.format_number(plan.runs(steps), 2)} times"


def _format_time(plan: RacePlan, steps: int) -> str:
    """The time of the steps one after another; trials that run side by side take less. "" where a run's time is not known."""
    seconds = plan.seconds * plan.runs(steps)
    return f": about {numbers.format_duration(seconds)} one after another" if math.isfinite(seconds) else ""


def _build_empty_table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
