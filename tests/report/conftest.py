"""Runs, races and reports that the tests of the report share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from example_runs import RACE, make_broken_run, make_run

from unvanish.record.run import Run


@pytest.fixture
def sick() -> Run:
    return make_run(decades=-6.1, losses=lambda step: 2.3 + 0.01 * np.sin(step))


@pytest.fixture
def healthy() -> Run:
    return make_run(depth=4)


@pytest.fixture
def diverged() -> Run:
    return make_broken_run()


@pytest.fixture
def raced(sick: Run) -> Run:
    return replace(sick, race=RACE)
