"""Run files of an older format open with all that they hold; files with other quantities than this version's open too."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examinations_by_hand import look
from rows import assert_holds, row, store_document, write

from unvanish.errors import RecordError
from unvanish.record.quantities import Axis, quantities
from unvanish.record.races.candidate import Candidate
from unvanish.record.races.verdict import Outcome, RaceResult
from unvanish.record.storage.journal import Journal, attach_race, load
from unvanish.record.storage.migrations import FORMAT_2_QUANTITIES
from unvanish.record.storage.schema import APPLICATION_ID
from unvanish.record.storage.serialisation import to_plain

EFFECT = {
    "metric": "loss",
    "higher_is_better": False,
    "control": 2.3,
    "treated": 0.1,
    "effect": 2.2,
    "interval": [2.1, 2.3],
    "control_spread": 0.01,
    "treated_spread": 0.02,
}
COST = {"step_time": 1.1, "parameters": 1.0, "memory": 1.0, "flops": None}


def verdict(remedies: list[str], outcome: str, reason: str, variant: str = "") -> dict[str, Any]:
    """A verdict as format 2 stored it."""
    shape = {"effects": [EFFECT] if outcome != "failed" else [], "seeds": 3, "steps": 90, "cost": COST, "rung": 3, "rungs": 3}
    return {"remedies": remedies, "outcome": outcome, "reason": reason, "variant": variant, **shape}


def trial(remedies: list[str], variant: str = "") -> dict[str, Any]:
    """A trial's result as format 2 stored it."""
    return {
        "remedies": remedies,
        "seed": 0,
        "steps": 90,
        "final_loss": 0.1,
        "metrics": [["val_acc", 0.9]],
        "findings": [],
        "step_ms": 2.0,
        "parameters": 10,
        "memory_bytes": 1000,
        "losses": [2.3, 0.1],
        "failure": None,
        "paused": False,
        "variant": variant,
        "flops": 1e6,
    }


RACE = {
    "script": "train.py",
    "verdicts": [
        verdict(["learning-rate"], "cured", "loss went from 2.3 to 0.1", "x0.1"),
        verdict(["lsuv-init"], "failed", "A trial failed: crashed: ValueError: a. b."),
    ],
    "winner": ["learning-rate"],
    "control": [EFFECT],
    "trials": [trial([]), trial(["learning-rate"], "x0.1"), trial(["relu", "he-init"])],
    "sentence": "One cure was found: learning-rate x0.1.",
    "line": None,
    "winner_variant": "x0.1",
    "notes": [],
    "stopped": False,
    "patch": "--- a",
}


# The tables of formats 2 and 3, which differ in their documents.
OLD_TABLES = """
CREATE TABLE document (name TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE reading (step INTEGER PRIMARY KEY, own_ms REAL NOT NULL, "site" BLOB, "parameter" BLOB, "group" BLOB, "network" BLOB,
    "head" BLOB);
CREATE TABLE step (step INTEGER PRIMARY KEY, ended_s REAL NOT NULL, losses BLOB NOT NULL);
CREATE TABLE metric (step INTEGER NOT NULL, name TEXT NOT NULL, value REAL);
INSERT INTO document SELECT name, body FROM new.document;
INSERT INTO reading SELECT step, own_ms, "site", "parameter", "group", "network", "head" FROM new.reading;
INSERT INTO step SELECT step, ended_s, losses FROM new.step;
INSERT INTO metric SELECT step, name, value FROM new.metric ORDER BY number;
"""


def store_as(version: int, path: Path) -> None:
    """Makes a run's file one of format 2 or 3: no checksums, and in format 2 no names of quantities."""
    new = path.rename(path.with_name("new.sqlite"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("ATTACH ? AS new", (str(new),))
        connection.executescript(OLD_TABLES)
        if version == 2:
            connection.execute("DELETE FROM document WHERE name = 'quantities'")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")


def store_as_format_2(path: Path, documents: dict[str, Any]) -> None:
    """Makes a run's file one of format 2 with these documents besides its own."""
    for name, document in documents.items():
        store_document(path, name, json.dumps(document))
    store_as(2, path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a run of two sampled steps."""
    journal = Journal.create(tmp_path / "run.sqlite")
    write(journal, [row(1), row(2)])
    journal.close()
    return tmp_path / "run.sqlite"


def test_the_order_of_quantities_in_format_2_is_kept() -> None:
    assert list(FORMAT_2_QUANTITIES) == list(Axis)
    assert sum(map(len, FORMAT_2_QUANTITIES.values())) == 45
    for axis, names in FORMAT_2_QUANTITIES.items():
        assert set(names) <= {quantity.name for quantity in quantities(Axis(axis))}


def test_the_readings_of_format_2_come_back_under_their_names(path: Path) -> None:
    store_as_format_2(path, {})
    assert_holds(load(path), [row(1), row(2)])


def test_a_run_of_format_3_is_read_as_it_was_and_nothing_is_added_to_it(path: Path) -> None:
    before = load(path)
    store_as(3, path)
    after = load(path)
    assert_holds(after, [row(1), row(2)])
    assert (after.facts, after.structure) == (before.facts, before.structure)
    with pytest.raises(RecordError, match="written in format 3, to which nothing can be added"):
        attach_race(path, RaceResult("train.py", (), None, (), (), ""))


def test_a_race_of_format_2_has_candidates_and_failures_as_fields(path: Path) -> None:
    store_as_format_2(path, {"race": RACE})
    race = load(path).race
    assert race is not None
    assert race.winner == Candidate(("learning-rate",), 0.1)
    assert [trial.candidate for trial in race.trials] == [Candidate(), race.winner, Candidate(("relu", "he-init"))]
    cured, failed = race.verdicts
    assert (cured.candidate, cured.outcome, cured.failure) == (race.winner, Outcome.CURED, "")
    assert (failed.candidate, failed.failure) == (Candidate(("lsuv-init",)), "crashed: ValueError: a. b")
    assert np.isnan(cured.cost.flops)


def test_a_race_of_format_2_that_nothing_won_has_no_winner(path: Path) -> None:
    store_as_format_2(path, {"race": {**RACE, "winner": None, "winner_variant": ""}})
    race = load(path).race
    assert race is not None
    assert race.winner is None


def test_a_prescription_of_format_2_has_what_theory_predicted(path: Path) -> None:
    candidate = {"remedies": ["relu"], "foretold": -0.5, "traced": -0.7, "parameters": 1.0, "refusal": ""}
    prescription = {"finding": "vanishing-gradient", "foretold": -9.0, "traced": -9.1, "candidates": [candidate]}
    store_as_format_2(path, {"examination": {**to_plain(look()), "prescription": prescription}})
    examination = load(path).examination
    assert examination is not None
    assert examination.prescription is not None
    assert examination.prescription.predicted == -9.0
    assert [forecast.predicted for forecast in examination.prescription.candidates] == [-0.5]


def test_a_quantity_that_the_file_lacks_is_not_measured_and_one_that_is_not_known_is_left_out(path: Path) -> None:
    before = load(path)
    with closing(sqlite3.connect(path)) as connection:
        (body,) = connection.execute("SELECT body FROM document WHERE name = 'quantities'").fetchone()
    store_document(path, "quantities", body.replace("activation_std", "activation_kurtosis"))
    after = load(path)
    assert list(after.readings) == list(before.readings)
    assert after.readings["activation_std"].shape == before.readings["activation_std"].shape
    assert np.isnan(after.readings["activation_std"]).all()
    np.testing.assert_array_equal(after.readings["zero_fraction"], before.readings["zero_fraction"])
