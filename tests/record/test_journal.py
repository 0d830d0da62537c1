"""The run's file: what is written is read, whatever else is read is refused with one clear line."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import assert_holds, model_structure, row, write

from unvanish.errors import RecordError
from unvanish.record.quantities import Axis, StepMark
from unvanish.record.races.candidate import Candidate
from unvanish.record.races.verdict import RaceResult
from unvanish.record.run import Facts, Run
from unvanish.record.storage.journal import Journal, attach_race, load
from unvanish.record.storage.schema import APPLICATION_ID, VERSION

ROWS = [row(step) for step in range(1, 31)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's file that was closed."""
    path = tmp_path_factory.mktemp("finished") / "run.sqlite"
    journal = Journal.create(path)
    write(journal, ROWS)
    journal.close()
    assert [p.name for p in path.parent.iterdir()] == ["run.sqlite"]
    return path


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with copies of the file and the write-ahead log of a run that was still being written."""
    path = tmp_path_factory.mktemp("unfinished") / "run.sqlite"
    journal = Journal.create(path)
    write(journal, ROWS)
    copies = tmp_path_factory.mktemp("copies")
    for name in ("run.sqlite", "run.sqlite-wal"):
        (copies / name).write_bytes(path.with_name(name).read_bytes())
    journal.close()
    return copies


def test_what_is_written_is_read(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run.sqlite")
    write(journal, ROWS)
    assert_holds(journal.read(), ROWS)
    assert_holds(load(tmp_path / "run.sqlite"), ROWS)
    journal.close()
    run = load(tmp_path / "run.sqlite")
    assert_holds(run, ROWS)
    assert run.structure == model_structure()
    assert run.facts == Facts(script="train.py")
    assert run.race is None
    assert run.step_count == 30


def test_an_empty_run_is_read(tmp_path: Path) -> None:
    Journal.create(tmp_path / "run.sqlite").close()
    run = load(tmp_path / "run.sqlite")
    assert_holds(run, [])
    assert (run.step_count, run.overhead, run.facts.ending) == (0, 0.0, "running")
    assert [len(part) for part in run.objective()] == [0, 0]


def test_a_run_in_memory_needs_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    journal = Journal.create(None)
    write(journal, ROWS)
    assert_holds(journal.read(), ROWS)
    journal.close()
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.tuples(*(st.integers(0, 4) for _ in Axis)), st.integers(1, 3)), max_size=8))
def test_what_joins_late_on_any_axis_is_not_measured_before(widths: list[tuple[tuple[int, ...], int]]) -> None:
    rows = [row(step, wide, objectives=o) for step, (wide, o) in enumerate(widths, start=1)]
    journal = Journal.create(None)
    write(journal, rows)
    assert_holds(journal.read(), rows)
    journal.close()


def test_a_loss_of_nan_is_absent_and_one_of_inf_is_kept() -> None:
    journal = Journal.create(None)
    journal.write(marks=[StepMark(1, 0.5, (1.0, np.nan)), StepMark(2, 0.7, (np.inf, 3.0)), StepMark(3, 1.1, (np.nan, 4.0))])
    run = journal.read()
    journal.close()
    assert [part.tolist() for part in run.objective()] == [[1, 2], [1.0, np.inf]]
    assert [part.tolist() for part in run.objective(1)] == [[2, 3], [3.0, 4.0]]
    assert [len(part) for part in run.objective(2)] == [0, 0]
    assert run.step_ms() == pytest.approx([200, 400])


def test_facts_and_structure_are_those_written_last() -> None:
    journal = Journal.create(None)
    journal.write(facts=Facts(script="a.py"), structure=model_structure(1))
    journal.write(facts=Facts(script="a.py", ending="finished", wall_s=4, own_s=1), structure=model_structure(2))
    run = journal.read()
    journal.close()
    assert (run.facts.ending, run.overhead, run.structure) == ("finished", 0.25, model_structure(2))


def test_a_race_joins_a_finished_run(tmp_path: Path, finished: Path) -> None:
    path = tmp_path / "run.sqlite"
    path.write_bytes(finished.read_bytes())
    race = RaceResult("train.py", (), Candidate(("relu", "he-init")), (), (), "relu wins.")
    attach_race(path, race)
    run = load(path)
    assert run.race == race
    assert_holds(run, ROWS)


def test_a_write_that_fails_writes_nothing_of_it_and_the_next_one_succeeds() -> None:
    journal = Journal.create(None)
    write(journal, ROWS[:2])
    with pytest.raises(RecordError, match="cannot be written"):
        journal.write(metrics=ROWS[2].metrics, reading=ROWS[2].reading, marks=(*ROWS[2].marks, *ROWS[0].marks))
    assert_holds(journal.read(), ROWS[:2])
    journal.write(reading=ROWS[2].reading, marks=ROWS[2].marks, metrics=ROWS[2].metrics)
    assert_holds(journal.read(), ROWS[:3])
    journal.close()


# What is not a run


def loaded_or_refused(path: Path) -> Run | None:
    """The run, or None where the file was refused; any other error goes through."""
    try:
        return load(path)
    except RecordError:
        return None


@settings(max_examples=120, deadline=None, derandomize=True)
@given(share=st.floats(0, 1))
def test_a_file_cut_anywhere_is_refused_or_read_whole(
    share: float, finished: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "run.sqlite"
    content = finished.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    run = loaded_or_refused(path)
    if run is not None:
        assert_holds(run, ROWS)
        assert run.structure == model_structure()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(share=st.floats(0, 1))
def test_a_log_cut_anywhere_leaves_whole_steps_from_the_first(
    share: float, unfinished: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "run.sqlite"
    path.write_bytes((unfinished / "run.sqlite").read_bytes())
    log = (unfinished / "run.sqlite-wal").read_bytes()
    path.with_name("run.sqlite-wal").write_bytes(log[: round(share * len(log))])
    run = loaded_or_refused(path)
    if run is not None:
        assert_holds(run, ROWS[: len(run.sampled)])
        assert share < 1 or len(run.sampled) == len(ROWS)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(place=st.floats(0, 1, exclude_max=True), junk=st.binary(min_size=64, max_size=64))
def test_a_damaged_file_never_ends_in_another_error(
    place: float, junk: bytes, finished: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "run.sqlite"
    content = finished.read_bytes()
    start = int(place * (len(content) - len(junk)))
    path.write_bytes(content[:start] + junk + content[start + len(junk) :])
    with np.errstate(invalid="ignore"):  # damaged values may be signalling NaNs
        assert isinstance(loaded_or_refused(path), Run | None)


def other_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE reading (step INTEGER)")
    connection.commit()
    connection.close()


def run_of_format(version: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        Journal.create(path).close()
        connection = sqlite3.connect(path)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.close()

    return make


def first_format(path: Path) -> None:
    """A run as version 0.1 wrote it: a reading had one blob for each of three axes."""
    connection = sqlite3.connect(path)
    connection.executescript(
        f"""PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1;
        CREATE TABLE document (name TEXT PRIMARY KEY, body TEXT NOT NULL);
        CREATE TABLE reading (step INTEGER PRIMARY KEY, own_ms REAL NOT NULL, site BLOB, parameter BLOB, "group" BLOB);
        CREATE TABLE step (step INTEGER PRIMARY KEY, ended_s REAL NOT NULL, losses BLOB NOT NULL);
        CREATE TABLE metric (step INTEGER NOT NULL, name TEXT NOT NULL, value REAL);
        INSERT INTO reading VALUES (1, 0.5, x'', x'', x'');"""
    )
    connection.close()


REFUSED = {
    "missing": (lambda path: None, "no such run"),
    "folder": (lambda path: path.mkdir(), "no such run"),
    "empty": (lambda path: path.touch(), "not a run of unvanish"),
    "text": (lambda path: path.write_text("step,loss\n1,2.3\n" * 400), "foreign, damaged or cut short"),
    "database": (other_database, "not a run of unvanish"),
    "newer": (
        run_of_format(VERSION + 1),
        f"written in format {VERSION + 1}, and this version reads format {VERSION}; update unvanish",
    ),
    "older": (first_format, f"written in format 1, and this version reads format {VERSION}; run the script again"),
    "without a format": (run_of_format(0), f"written in format 0, and this version reads format {VERSION}; run the script again"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_a_run_is_refused_with_its_path_and_the_reason(kind: str, tmp_path: Path) -> None:
    make, reason = REFUSED[kind]
    path = tmp_path / "some.sqlite"
    make(path)
    with pytest.raises(RecordError, match=reason) as caught:
        load(path)
    assert str(path) in str(caught.value)
    with pytest.raises(RecordError):
        attach_race(path, RaceResult("", (), None, (), (), ""))


def test_advice_for_an_old_run_and_for_a_new_one_are_not_the_same(tmp_path: Path) -> None:
    messages = {}
    for kind in ("older", "newer"):
        REFUSED[kind][0](tmp_path / kind)
        with pytest.raises(RecordError) as caught:
            load(tmp_path / kind)
        messages[kind] = str(caught.value)
    assert "update" not in messages["older"]
    assert "again" not in messages["newer"]


def test_reading_a_foreign_file_does_not_alter_it(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    other_database(path)
    before = path.read_bytes()
    with pytest.raises(RecordError):
        load(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    path.write_text("precious")
    with pytest.raises(RecordError, match="exists already"):
        Journal.create(path)
    assert path.read_text() == "precious"


def test_a_folder_that_cannot_take_the_file_is_named(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.touch()
    for path in (tmp_path / "missing" / "run.sqlite", occupied / "run.sqlite", Path("/proc/run.sqlite")):
        with pytest.raises(RecordError, match="cannot be written") as caught:
            Journal.create(path)
        assert str(path) in str(caught.value)
