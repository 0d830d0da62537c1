"""A journal whose file fails goes on in memory after one line, and completes the file at its end where that is possible."""

from __future__ import annotations

import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest
from rows import assert_holds, model_structure, row, write

from unvanish.errors import RecordError
from unvanish.record.quantities import Metric
from unvanish.record.storage import journal as journal_module
from unvanish.record.storage.journal import Journal, load, reserve

ROWS = [row(step) for step in range(1, 31)]


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """No file can grow; Python ignores the signal that the system sends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name(f"{path.name}-wal").stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process holds the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


FAULTS: dict[str, tuple[Callable[[Path], AbstractContextManager[None]], str]] = {
    "a full disk": (full_disk, "disk"),
    "a lock": (locked, "locked"),
}


def write_more(journal: Journal) -> None:
    for each in ROWS[10:]:
        journal.write(reading=each.reading, marks=each.marks, metrics=each.metrics)


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_fails_in_the_middle_loses_no_step_and_is_completed_at_the_end(name: str, tmp_path: Path) -> None:
    path, lines = tmp_path / "run.sqlite", list[str]()
    fault, word = FAULTS[name]
    journal = Journal.create(path, on_fault=lines.append)
    write(journal, ROWS[:10])
    with fault(path):
        write_more(journal)
        assert_holds(journal.read(), ROWS)
        assert_holds(load(path), ROWS[:10])
    journal.close()
    (line,) = lines
    assert line.startswith(f"{path} cannot be written (")
    assert word in line
    assert_holds(load(path), ROWS)
    assert load(path).structure == model_structure()


def test_a_disk_that_stays_full_keeps_the_steps_up_to_then(tmp_path: Path) -> None:
    path, lines = tmp_path / "run.sqlite", list[str]()
    journal = Journal.create(path, on_fault=lines.append)
    write(journal, ROWS[:10])
    with full_disk(path):
        write_more(journal)
        journal.close()
    assert len(lines) == 1
    assert_holds(load(path), ROWS[:10])
    assert {file.name for file in tmp_path.iterdir()} <= {"run.sqlite", "run.sqlite-wal", "run.sqlite-shm"}


def test_without_a_listener_a_file_that_fails_raises_and_the_next_write_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    journal = Journal.create(path)
    write(journal, ROWS[:10])
    with full_disk(path), pytest.raises(RecordError, match="is its disk full"):
        write_more(journal)
    write_more(journal)
    assert_holds(journal.read(), ROWS)
    journal.close()


def test_a_run_whose_folder_is_removed_meanwhile_is_there_at_the_end(tmp_path: Path) -> None:
    folder, lines = tmp_path / "deep" / "run", list[str]()
    folder.mkdir(parents=True)
    journal = Journal.create(folder / "run.sqlite", on_fault=lines.append)
    write(journal, ROWS[:10])
    shutil.rmtree(tmp_path / "deep")
    write_more(journal)
    journal.close()
    assert_holds(load(folder / "run.sqlite"), ROWS)
    assert [file.name for file in folder.iterdir()] == ["run.sqlite"]


def test_a_file_that_cannot_be_made_is_made_at_the_end_where_that_is_possible_then(tmp_path: Path) -> None:
    path, lines = tmp_path / "run" / "run.sqlite", list[str]()
    (tmp_path / "run").touch()  # a file where the folder should be
    journal = Journal.create(path, on_fault=lines.append)
    write(journal, ROWS)
    (tmp_path / "run").unlink()
    journal.close()
    assert len(lines) == 1
    assert_holds(load(path), ROWS)


def test_a_file_that_can_never_be_made_is_said_once(tmp_path: Path) -> None:
    lines = list[str]()
    journal = Journal.create(Path("/proc/run/run.sqlite"), on_fault=lines.append)
    write(journal, ROWS)
    assert_holds(journal.read(), ROWS)
    journal.close()
    assert len(lines) == 1


def test_a_file_is_reserved_once_and_its_journal_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    reserve(path)
    with pytest.raises(RecordError, match="holds another run already"):
        reserve(path)
    journal = Journal.create(path)
    write(journal, ROWS)
    journal.close()
    assert_holds(load(path), ROWS)
    with pytest.raises(RecordError, match="exists already"):
        Journal.create(path)


def test_a_metric_that_a_signal_handler_writes_amid_a_write_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, original = Journal.create(tmp_path / "run.sqlite"), journal_module._insert

    def interrupted(*args: object, **options: object) -> None:
        monkeypatch.setattr(journal_module, "_insert", original)
        journal.write(metrics=[Metric(1, "handled", 2.0)])
        original(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(journal_module, "_insert", interrupted)
    journal.write(metrics=[Metric(1, "first", 1.0)])
    assert [(m.name, m.value) for m in journal.read().metrics] == [("first", 1.0), ("handled", 2.0)]
    journal.close()


def test_a_name_or_value_that_sqlite_would_alter_comes_back_as_it_was_stored(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "run.sqlite")
    journal.write(
        metrics=[Metric(1, "half \ud800", 1.0), Metric(1, "zero\0", -0.0), Metric(1, "whole", 3), Metric(1, "inf", float("inf"))]
    )
    journal.close()
    metrics = load(tmp_path / "run.sqlite").metrics
    assert [(m.name, m.value) for m in metrics] == [("half \\ud800", 1.0), ("zero\0", 0.0), ("whole", 3.0), ("inf", float("inf"))]


def test_a_file_that_another_process_holds_is_said_to_be_held_and_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "READ_TIMEOUT_S", 0.1)
    path = tmp_path / "run.sqlite"
    journal = Journal.create(path)
    write(journal, ROWS)
    journal.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RecordError, match="another process holds it"):
            load(path)
    assert_holds(load(path), ROWS)
