"""The planned parts of a race are those that it comes to, part for part."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.race.simulated_race import STEPS, CurveEngine, edited_candidates, settings

from unvanish.race import plan_parts, race
from unvanish.record.races.race_plan import CONTROL_ID, SEEDS_ID, RacePart

NAMES = ("relu", "elu", "gelu", "silu", "selu", "batchnorm", "lstm", "gru")


def curve(step: int, seed: int, *, end: float) -> float:
    return 2.3 + (end - 2.3) * step / STEPS + 0.001 * seed


@pytest.mark.parametrize(("count", "all_seeds"), [(1, False), (4, False), (6, False), (8, False), (8, True)])
def test_every_planned_part_begins_with_its_identity_and_its_trials(count: int, all_seeds: bool, tmp_path: Path) -> None:
    ends = {name: 0.1 + 0.2 * place for place, name in enumerate(NAMES)}
    curves = {name: (lambda step, seed, end=end: curve(step, seed, end=end)) for name, end in ends.items()}
    engine = CurveEngine({"as it is": lambda step, seed: 2.3 + 0.01 * seed, **curves})
    begun: list[RacePart] = []
    keep = count if all_seeds else 2
    options = settings(engine, tmp_path, keep=keep, all_seeds=all_seeds, on_part=begun.append)
    race(edited_candidates(*NAMES[:count]), None, options)
    planned = [part for part in plan_parts(count, steps=STEPS, seeds=3, keep=keep, all_seeds=all_seeds) if not part.if_needed]
    assert [part.id for part in begun] == [CONTROL_ID, *(part.id for part in planned)]
    exact = {part.id: part.trials for part in planned if part.id != SEEDS_ID or all_seeds}
    assert {part.id: part.trials for part in begun}.items() >= exact.items()


def test_a_second_wave_is_planned_only_if_needed_and_with_identities_of_its_own() -> None:
    parts = plan_parts(8, steps=STEPS, seeds=3)
    later = [part.id for part in parts if part.if_needed]
    assert later == ["wave-1-end"]  # two candidates need no rungs
    assert len({part.id for part in parts}) == len(parts)
