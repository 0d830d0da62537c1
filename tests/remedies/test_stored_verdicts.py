"""Tests of the stored races of every remedy, one that it wins and one that it does not, and of the benchmarks behind them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import unvanish
from unvanish.docgen.stored_races import load_stored_races
from unvanish.record.races.stored_race import StoredRace, outcome_of
from unvanish.record.races.verdict import Outcome
from unvanish.remedies import remedy_names

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = Path(unvanish.__file__).parent / "remedies" / "verdicts"
EVERY = [raced for name in remedy_names() for raced in load_stored_races(name)]


def test_every_remedy_has_its_verdicts_and_nothing_else_has() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(remedy_names())


@pytest.mark.parametrize("name", remedy_names())
def test_a_remedy_helps_in_one_race_and_not_in_another(name: str) -> None:
    helps, other = load_stored_races(name)
    assert helps.remedies == other.remedies == (name,)
    assert helps.outcome is Outcome.BETTER
    assert other.outcome in (Outcome.SAME, Outcome.WORSE)


@pytest.mark.parametrize("raced", EVERY, ids=lambda raced: f"{raced.name}: {raced.network}")
def test_a_stored_race_has_seeds_cost_and_the_outcome_of_its_interval(raced: StoredRace) -> None:
    assert raced.seeds >= 3
    assert raced.step_time > 0
    assert raced.parameters >= 1
    assert raced.outcome is outcome_of(raced.effect)
    assert raced.effect.interval[0] <= raced.effect.effect <= raced.effect.interval[1]


def test_verdicts_are_read_without_torch() -> None:
    code = (
        "import sys; from unvanish.docgen.stored_races import load_stored_races; "
        "assert load_stored_races('relu'); assert 'torch' not in sys.modules"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stderr) == (0, "")


def test_a_remedy_of_somebody_else_has_none() -> None:
    assert load_stored_races("a-remedy-of-somebody-else") == ()


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks, which stand beside the package and are not installed with it."""
    if not (PROJECT / "benchmarks" / "remedies").is_dir():
        pytest.skip("the benchmarks are not here")
    monkeypatch.syspath_prepend(PROJECT)


@pytest.mark.usefixtures("benchmarks")
def test_every_remedy_has_experiments_and_every_training_is_used() -> None:
    from benchmarks.remedies.experiments import EXPERIMENTS
    from benchmarks.remedies.tasks import TASKS

    assert set(EXPERIMENTS) == set(remedy_names())
    assert {task for pair in EXPERIMENTS.values() for task in pair} == set(TASKS)


@pytest.mark.usefixtures("benchmarks")
def test_a_training_reproduces_the_stored_race() -> None:
    from benchmarks.remedies.experiments import EXPERIMENTS
    from benchmarks.remedies.tasks import TASKS
    from benchmarks.remedies.training import train

    race, task = load_stored_races("standardise-input")[0], TASKS[EXPERIMENTS["standardise-input"][0]]
    before, after = ([train(task, names, seed).value for seed in range(race.seeds)] for names in ((), race.remedies))
    assert sum(before) / len(before) == pytest.approx(race.effect.control, abs=0.1)
    assert sum(after) / len(after) == pytest.approx(race.effect.treated, abs=0.05)
