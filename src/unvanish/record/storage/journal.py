"""The run's file: an append-only SQLite store in WAL mode, one row a sampled step, each row with its checksum.

One transaction a sampled step: a process killed at any moment leaves a file that opens and lacks at most the step in
flight. Losses of the steps between two samples are written with the next sample, or after a quarter of a second. The file
names the quantities that its rows hold, so that it opens also where this version measures others.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from unvanish.errors import RecordError
from unvanish.record.examination import Examination
from unvanish.record.quantities import Axis, Metric, Reading, StepMark, quantities
from unvanish.record.races.verdict import RaceResult
from unvanish.record.run import Facts, Run
from unvanish.record.storage.row_checksums import Row, with_checksums
from unvanish.record.storage.run_reader import format_version, read_run, require_readable
from unvanish.record.storage.schema import CREATE, STRUCTURE, TABLES, VERSION
from unvanish.record.storage.serialisation import to_plain
from unvanish.record.structure import ModelStructure

LOCK_TIMEOUT_S = 0.5  # how long a write waits for another process; the training waits with it
READ_TIMEOUT_S = 5.0  # how long a reader waits
IN_MEMORY = ":memory:"
# What reading a file of bytes at random may raise: its formats before 4 have no checksums that would tell.
_UNREADABLE = (sqlite3.Error, OSError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError)

OnFault = Callable[[str], None]
Rows = dict[str, list[Row]]
"""Rows by table, as they are stored."""


class Journal:
    """A run's file, open for writing. Use `create`, and close it; `load` reads one back.

    A write from several threads, or from a signal handler amid another write, is one transaction as every other.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path | None = None, on_fault: OnFault | None = None) -> None:
        self._connection, self._path, self._on_fault = connection, path, on_fault
        self._lock, self._waiting, self._is_writing = threading.RLock(), list[Rows](), False
        (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM metric").fetchone()
        self._metric_numbers = itertools.count(last + 1)
        self._failed_file: sqlite3.Connection | None = None

    @classmethod
    def create(cls, path: Path | None, *, on_fault: OnFault | None = None) -> Journal:
        """A new, empty journal.

        Arguments:
            path: where; None for a journal in memory. An empty file there is taken for the one that `reserve` made.
            on_fault: called with one line, at most once, when the file cannot be written, at the beginning or later. The journal
                goes on in memory then, and tries the file once more when it is closed. Without it, RecordError is raised.

        Raises RecordError where the file holds something already.
        """
        if path is not None and path.exists() and (not path.is_file() or path.stat().st_size):
            raise RecordError(f"{path} exists already and holds another run; choose another folder with --out")
        if path is None:
            return cls(_create_file(IN_MEMORY))
        try:
            return cls(_create_file(path), path, on_fault)
        except sqlite3.Error as fault:
            _remove_file(path)
            if on_fault is None:
                reason = f"{path}: the run's file cannot be written ({fault}); choose another folder with --out"
                raise RecordError(reason) from fault
            on_fault(_describe_fault(path, fault))
            return cls(_create_file(IN_MEMORY), path)

    def write(
        self,
        *,
        structure: ModelStructure | None = None,
        facts: Facts | None = None,
        race: RaceResult | None = None,
        examination: Examination | None = None,
        reading: Reading | None = None,
        marks: Iterable[StepMark] = (),
        metrics: Iterable[Metric] = (),
    ) -> None:
        """Writes all that is given in one transaction. Cost: about 70 microseconds on a local disk.

        Raises RecordError where the file cannot take it; then none of it was written.
        """
        documents = {STRUCTURE: structure, "facts": facts, "race": race, "examination": examination}
        bodies = [(name, json.dumps(to_plain(value))) for name, value in documents.items() if value is not None]
        rows = {
            "document": with_checksums("document", bodies),
            "reading": with_checksums("reading", [] if reading is None else [_pack(reading)]),
            "step": with_checksums("step", [(m.step, float(m.ended_s), np.array(m.losses, np.float64).tobytes()) for m in marks]),
            "metric": with_checksums("metric", [(next(self._metric_numbers), m.step, *_name_and_value(m)) for m in metrics]),
        }
        with self._lock:
            self._waiting.append(rows)
            if self._is_writing:  # a signal handler or a destructor that runs amid a write: that write takes it along
                return
            self._is_writing = True
            try:
                while self._waiting:
                    self._commit(self._waiting.pop(0))
            finally:
                self._is_writing = False

    def read(self) -> Run:
        """Everything that was written so far."""
        with self._lock:
            return read_run(self._connection)

    def close(self) -> None:
        """Folds the write-ahead log into the file and lets go of it. The file then opens from a read-only folder too."""
        with suppress(sqlite3.Error, OSError):
            self._complete_file()
        for connection in (self._connection, self._failed_file):
            if connection is not None:
                with suppress(sqlite3.Error):  # somebody is reading it at this moment: it stays in WAL mode, and whole
                    connection.execute("PRAGMA journal_mode = DELETE")
                connection.close()

    def _commit(self, rows: Rows) -> None:
        try:
            _insert(self._connection, rows)
        except sqlite3.Error as fault:
            if not (isinstance(fault, sqlite3.OperationalError) and self._continue_in_memory(fault)):
                reason = f"the run's file cannot be written ({fault}); is its disk full, or another run at it?"
                raise RecordError(reason) from fault
            _insert(self._connection, rows)

    def _continue_in_memory(self, fault: sqlite3.Error) -> bool:
        """Whether the journal could be taken from its file, which has failed, into memory."""
        if self._path is None or self._on_fault is None or self._failed_file is not None:
            return False
        memory = _create_file(IN_MEMORY)
        try:
            _insert(memory, _stored_rows(self._connection))
        except sqlite3.Error:
            memory.close()
            return False
        self._failed_file, self._connection = self._connection, memory
        self._on_fault(_describe_fault(self._path, fault))
        return True

    def _complete_file(self) -> None:
        """Writes what the file lacks, if it failed; writes it anew where somebody has removed it."""
        if self._path is None:
            return
        if self._failed_file is not None:
            _insert(self._failed_file, _stored_rows(self._connection), on_conflict="IGNORE")
        if self._path.exists():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        copy = self._path.with_name(f"{self._path.name}.part")
        try:
            self._connection.execute("VACUUM INTO ?", (str(copy),))
            copy.replace(self._path)
        finally:
            copy.unlink(missing_ok=True)


def reserve(path: Path) -> None:
    """Makes an empty file for a journal that is created later; of several processes, one alone succeeds.

    Raises RecordError where there is a file already, OSError where none can be made.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError:
        raise RecordError(f"{path.parent} holds another run already; choose another folder with --out") from None


def load(path: Path) -> Run:
    """The run that a journal holds; also one that is being written, or whose process was killed.

    Raises RecordError where the file is missing, foreign, cut short, damaged, or of an older or newer format than this version's.
    """
    try:
        if not path.is_file():
            raise RecordError("no such run; give a run's folder or its run.sqlite")
        address = f"{path.resolve().as_uri()}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, timeout=READ_TIMEOUT_S, isolation_level=None)) as connection:
            connection.execute("BEGIN")  # one view of the file, whatever a writer adds meanwhile
            require_readable(connection, path)
            return read_run(connection)
    except RecordError as fault:
        raise RecordError(f"{path}: {fault}") from fault.__cause__
    except _UNREADABLE as fault:
        if "locked" in str(fault):
            raise RecordError(f"{path}: another process holds it ({fault}); try again when that has ended") from fault
        raise RecordError(f"{path}: not a readable run ({fault}); the file is foreign, damaged or cut short") from fault


def attach_race(path: Path, race: RaceResult) -> None:
    """Adds the result of a race to a finished run's file.

    Raises RecordError where the file cannot be read, or is of an older format.
    """
    load(path)
    connection = sqlite3.connect(path, isolation_level=None)
    if (version := format_version(connection)) != VERSION:
        connection.close()
        raise RecordError(f"{path}: written in format {version}, to which nothing can be added; run the script again")
    journal = Journal(connection)
    try:
        journal.write(race=race)
    finally:
        journal.close()


def _create_file(place: Path | str) -> sqlite3.Connection:
    """A new file with the tables of a run, and the names of the quantities that are measured."""
    connection = sqlite3.connect(place, timeout=LOCK_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # a commit survives the process; only a power cut may lose it
        connection.executescript(CREATE)
        names = {axis.value: [quantity.name for quantity in quantities(axis)] for axis in Axis}
        _insert(connection, {"document": with_checksums("document", [("quantities", json.dumps(names))])})
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _insert(connection: sqlite3.Connection, rows: Rows, *, on_conflict: str = "ABORT") -> None:
    """Inserts rows in one transaction, all or none. A document replaces that of its name; other rows go by `on_conflict`."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        for table, stored in rows.items():
            if stored:
                action = "REPLACE" if table == "document" else on_conflict
                connection.executemany(f"INSERT OR {action} INTO {table} VALUES ({', '.join('?' * len(stored[0]))})", stored)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _remove_file(path: Path) -> None:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.name}-journal"):
        with suppress(OSError):
            path.with_name(name).unlink()


def _stored_rows(connection: sqlite3.Connection) -> Rows:
    return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in TABLES}


def _pack(reading: Reading) -> Row:
    return (reading.step, float(reading.own_ms), *(reading.values[axis].astype(np.float32).tobytes() for axis in Axis))


def _name_and_value(metric: Metric) -> tuple[str, float | None]:
    """A metric's name and value as SQLite gives them back: NaN as None, minus zero as zero, no half of a surrogate pair."""
    value = float(metric.value)
    return metric.name.encode(errors="backslashreplace").decode(), None if math.isnan(value) else value + 0.0


def _describe_fault(path: Path, fault: sqlite3.Error) -> str:
    return f"{path} cannot be written ({fault}); the training goes on, and the record in memory"
