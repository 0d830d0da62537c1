"""The parts of a race before it is run: how many trials go how far. It follows the same arithmetic as the race and runs nothing."""

from __future__ import annotations

from unvanish.race.race import KEPT, WAVE
from unvanish.race.successive_halving import rungs_for, survivors
from unvanish.record.race_plan import PlannedPart


def planned_parts(candidates: int, *, steps: int, seeds: int, keep: int = KEPT, all_seeds: bool = False) -> tuple[PlannedPart, ...]:
    """The parts of a race of so many candidates on a training of so many steps, after the control's first run.

    With `all_seeds` every candidate runs with the further seeds. Else it is foreseen that one leads; a second one that may be
    as good and is cheaper would run with them too.
    """
    first, *waves = [min(WAVE, candidates - begin) for begin in range(0, candidates, WAVE)]
    parts = [*_wave(first, steps, keep)]
    if seeds > 1:
        who, count = ("all candidates", candidates) if all_seeds else ("the leader", 1)
        text = f"{who} and the script as it is, with {seeds - 1} more seed{'s' if seeds > 2 else ''}"
        parts.append(PlannedPart(text, (count + 1) * (seeds - 1), 0, steps))
    for size in waves:
        more = _wave(size, steps, keep)
        parts += [PlannedPart(f"{part.text}, if no cure is in sight", part.trials, part.begins, part.ends, True) for part in more]
    return tuple(parts)


def _wave(size: int, steps: int, keep: int) -> list[PlannedPart]:
    rungs = rungs_for(steps, size, keep=keep)
    parts: list[PlannedPart] = []
    alive, begins = size, 0
    for number, rung in enumerate(rungs.rungs, start=1):
        parts.append(PlannedPart(f"rung {number} of {rungs.height}, to step {rung}", alive, begins, rung))
        alive, begins = min(alive, survivors(alive, keep=keep)), rung
    text = f"rung {rungs.height} of {rungs.height}, to the end" if rungs.rungs else "to the end"
    return [*parts, PlannedPart(text, alive, begins, steps)]
