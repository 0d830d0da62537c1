"""Watching changes no bit of a training, whatever its kind, and the record agrees with what the script saw itself."""

from __future__ import annotations

import numpy as np
import pytest
from trainings import STEPS, TRAININGS, Outcome, Training
from watching import ALL, labels, observed

from unvanish.observe import Settings
from unvanish.record.run import Run

CASES = [pytest.param(training, id=name) for name, training in TRAININGS.items()]
SETTINGS = [pytest.param(ALL, id="every step"), pytest.param(Settings(), id="default")]


def watched(training: Training, settings: Settings) -> tuple[Outcome, Run]:
    outcomes: list[Outcome] = []
    run = observed(lambda: outcomes.append(training.run()), settings)
    return outcomes[0], run


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("training", CASES)
def test_training_is_bit_identical_and_faithfully_recorded(training: Training, settings: Settings) -> None:
    alone = training.run()
    outcome, run = watched(training, settings)
    for part, bits in alone.state.items():
        assert outcome.state[part] == bits, part
    assert run.steps.tolist() == list(range(1, training.prelude + STEPS + 1))
    first = training.prelude and training.prelude + 1  # of a prelude's round, the losses are spread over its steps
    np.testing.assert_allclose(run.losses[first:], np.array(alone.losses)[1 if first else 0 :], rtol=1e-6)
    assert run.sampled.tolist()[:10] == list(range(1, 11))
    if settings is ALL:
        assert run.sampled.tolist() == run.steps.tolist()
    if training.sites is not None:
        assert labels(run) == list(training.sites)
