"""A race that could be run, for the terminal: what would be tried, in what order, why and how, and what it would cost."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from unvanish.record.race_plan import IN_PLACE, PlannedCandidate, RacePlan
from unvanish.report.wording import numbers


def render_plan(plan: RacePlan) -> RenderableType:
    """The candidates, best first, with what was refused; the parts of the race; and its cost in a sentence."""
    if not plan.candidates:
        return Padding(Group(Text("Nothing would be raced."), *_refusals(plan)), (0, 0, 0, 2))
    return Padding(
        Group(
            Text(f"What would be tried on {plan.script}, in this order:"),
            "",
            _candidates(plan),
            *_refusals(plan),
            "",
            _parts(plan),
            "",
            *(Text(sentence) for sentence in _cost(plan)),
        ),
        (0, 0, 0, 2),
    )


def _candidates(plan: RacePlan) -> Table:
    table = _plain()
    table.add_column("", justify="right", no_wrap=True)
    table.add_column("remedy", max_width=34)
    table.add_column("because of")
    table.add_column("edit")
    for number, each in enumerate(plan.candidates, start=1):
        table.add_row(str(number), Text(each.name), each.finding or "you asked for it", _edit(each))
    return table


def _edit(each: PlannedCandidate) -> str:
    return f"{each.edit}, {numbers.plural(each.lines, 'line')}" if each.lines and each.edit == IN_PLACE else each.edit


def _refusals(plan: RacePlan) -> list[Text]:
    return [Text(f"cannot: {name}: {why}", style="dim") for name, why in plan.refused]


def _parts(plan: RacePlan) -> Table:
    table = _plain()
    table.add_column("part", overflow="fold")
    for head in ("trials", "steps each", "steps"):
        table.add_column(head, justify="right", no_wrap=True)
    for part in plan.parts:
        text = f"if no cure is in sight: {part.text}" if part.if_needed else part.text
        table.add_row(
            text, str(part.trials), f"{part.ends - part.begins:,}", f"{part.steps:,}", style="dim" if part.if_needed else ""
        )
    return table


def _cost(plan: RacePlan) -> list[str]:
    once = numbers.plural(plan.steps, "step")
    if math.isfinite(plan.seconds):
        once += f", {numbers.duration(plan.seconds)}"
    said = [f"In all {_steps(plan, plan.cost_steps)} one run of the script ({once}){_time(plan, plan.cost_steps)}."]
    if plan.most_steps > plan.cost_steps:
        said.append(f"At most, if no cure is in sight, {_steps(plan, plan.most_steps)} one run{_time(plan, plan.most_steps)}.")
    return said


def _steps(plan: RacePlan, steps: int) -> str:
    return f"{numbers.plural(steps, 'step')}, {numbers.figure(plan.runs(steps), 2)} times"


def _time(plan: RacePlan, steps: int) -> str:
    """What the steps take one after another; trials that run side by side take less."""
    seconds = plan.seconds * plan.runs(steps)
    return f": about {numbers.duration(seconds)} one after another" if math.isfinite(seconds) else ""


def _plain() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
