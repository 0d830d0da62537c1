"""The parts of a race before it is run: how many trials run how far, by the same arithmetic as the race."""

from __future__ import annotations

from unvanish.race.race import KEPT, WAVE, end_text, rung_text
from unvanish.race.successive_halving import rungs_for, survivors
from unvanish.record.races.race_plan import SEEDS_ID, PlannedPart, end_id, rung_id


def plan_parts(candidates: int, *, steps: int, seeds: int, keep: int = KEPT, all_seeds: bool = False) -> tuple[PlannedPart, ...]:
    """The parts of a race of so many candidates on a training of so many steps, after the control's first run.

    With `all_seeds` every candidate runs with the further seeds. Else one leader is assumed; a second one that may be as good and
    is cheaper would run with them too.
    """
    size = candidates if all_seeds else WAVE  # with every seed all run at once
    first, *waves = [min(size, candidates - begin) for begin in range(0, candidates, size)]
    parts = [*_wave(0, first, steps, keep)]
    if seeds > 1:
        who, proved = ("all candidates", candidates) if all_seeds else ("the leader", 1)
        text = f"{who} and the script as it is, with {seeds - 1} more seed{'s' if seeds > 2 else ''}"
        parts.append(PlannedPart(SEEDS_ID, text, (proved + 1) * (seeds - 1), 0, steps))
    for number, count in enumerate(waves, start=1):
        parts += [
            PlannedPart(part.id, f"{part.text}, if no cure is in sight", part.trials, part.begins, part.ends, True)
            for part in _wave(number, count, steps, keep)
        ]
    return tuple(parts)


def _wave(number: int, size: int, steps: int, keep: int) -> list[PlannedPart]:
    rungs = rungs_for(steps, size, keep=keep)
    parts: list[PlannedPart] = []
    running, begins = size, 0
    for rung, step in enumerate(rungs.steps, start=1):
        parts.append(PlannedPart(rung_id(number, rung), rung_text(rungs, rung), running, begins, step))
        running, begins = min(running, survivors(running, keep=keep)), step
    return [*parts, PlannedPart(end_id(number), end_text(rungs), running, begins, steps)]
