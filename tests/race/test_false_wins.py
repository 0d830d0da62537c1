"""Races in which no candidate does anything: how often chance is taken for a cure, over the whole procedure of a race."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.race.simulated_race import CurveEngine, edited_candidates, settings

from unvanish.race import race
from unvanish.record.races.candidate import Candidate

NAMES = ("relu", "elu", "gelu", "silu", "selu", "batchnorm")
RACES = 400
MOST = 0.05
ERROR = 2 * (MOST * (1 - MOST) / RACES) ** 0.5  # two standard errors of a share that is counted in so many races


def claims(seed: int, candidates: int, folder: Path) -> bool:
    """Whether a race among equals has a winner; every loss is drawn anew."""
    generator = np.random.default_rng(seed)
    losses = generator.normal(2.3, 0.1, (len(NAMES) + 1, 8))
    curves = {name: (lambda step, of, row=row: float(losses[row, of])) for row, name in enumerate(("as it is", *NAMES))}
    result = race(
        edited_candidates(*NAMES[:candidates]), None, settings(CurveEngine(curves, steps=12, cured_below=0.0), folder, steps=12)
    )
    return result.winner is not None


@pytest.mark.parametrize("candidates", [1, 2, 6])
def test_among_equals_a_winner_is_claimed_in_one_race_of_twenty_at_most(candidates: int, tmp_path: Path) -> None:
    share = np.mean([claims(seed, candidates, tmp_path) for seed in range(RACES)])
    assert share <= MOST + ERROR


def test_a_real_cure_is_claimed_in_nearly_every_race(tmp_path: Path) -> None:
    def wins(seed: int) -> bool:
        generator = np.random.default_rng(seed)
        losses = generator.normal(2.3, 0.1, (len(NAMES) + 1, 8))
        losses[1] = generator.normal(1.0, 0.2, 8)
        curves = {name: (lambda step, of, row=row: float(losses[row, of])) for row, name in enumerate(("as it is", *NAMES))}
        result = race(edited_candidates(*NAMES), None, settings(CurveEngine(curves, steps=12, cured_below=1.8), tmp_path, steps=12))
        return result.winner == Candidate(("relu",))

    assert np.mean([wins(seed) for seed in range(100)]) > 0.9
