"""The run's file: an append-only SQLite store in WAL mode, one row a sampled step.

One transaction a sampled step: a process killed at any moment leaves a file that opens and lacks at most the step in
flight. Losses of the steps between two samples are written with the next sample, or after a quarter of a second. The file
names the quantities that its rows hold, so that it opens also where this version measures others.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np

from unvanish.errors import RecordError
from unvanish.record.examination import Examination
from unvanish.record.quantities import Axis, Metric, Reading, StepMark, quantities
from unvanish.record.races.verdict import RaceResult
from unvanish.record.run import Facts, Matrix, Run
from unvanish.record.storage.migrations import FORMAT_2_QUANTITIES, upgrade_examination, upgrade_race
from unvanish.record.storage.serialisation import from_plain, to_plain
from unvanish.record.structure import ModelStructure

APPLICATION_ID = 0x756E7661  # "unva", so that `file` and we ourselves know the kind
VERSION = 3
OLDEST_VERSION = 2  # that is still read: see migrations.py

STRUCTURE = "anatomy"  # the name under which every format has stored the structure of the model

_SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE document (name TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE reading (step INTEGER PRIMARY KEY, own_ms REAL NOT NULL, {", ".join(f'"{axis}" BLOB' for axis in Axis)});
CREATE TABLE step (step INTEGER PRIMARY KEY, ended_s REAL NOT NULL, losses BLOB NOT NULL);
CREATE TABLE metric (step INTEGER NOT NULL, name TEXT NOT NULL, value REAL);
"""


class Journal:
    """A run's file, open for writing. Use `create`, and close it; `load` reads one back."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def create(cls, path: Path | None) -> Journal:
        """A new, empty journal at `path`, or in memory where `path` is None.

        Raises RecordError where the file exists already or cannot be written.
        """
        if path is not None and path.exists():
            raise RecordError(f"{path} exists already and holds another run; choose another folder with --out")
        try:
            connection = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        except sqlite3.Error as fault:
            raise _unwritable(path, fault) from fault
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")  # a commit survives the process; only a power cut may lose it
            connection.executescript(_SCHEMA)
            names = {axis.value: [quantity.name for quantity in quantities(axis)] for axis in Axis}
            connection.execute("INSERT INTO document VALUES ('quantities', ?)", (json.dumps(names),))
        except sqlite3.Error as fault:
            connection.close()
            raise _unwritable(path, fault) from fault
        return cls(connection)

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
        """Writes all that is given in one transaction. Cost: about 50 microseconds on a local disk.

        Raises RecordError where the file cannot take it; then none of it was written.
        """
        documents = {STRUCTURE: structure, "facts": facts, "race": race, "examination": examination}
        rows = [(name, json.dumps(to_plain(value))) for name, value in documents.items() if value is not None]
        execute = self._connection.executemany
        try:
            self._connection.execute("BEGIN")
            execute("INSERT OR REPLACE INTO document VALUES (?, ?)", rows)
            if reading is not None:
                blobs = [reading.values[axis].astype(np.float32).tobytes() for axis in Axis]
                execute(f"INSERT INTO reading VALUES (?, ?{', ?' * len(blobs)})", [(reading.step, reading.own_ms, *blobs)])
            execute(
                "INSERT INTO step VALUES (?, ?, ?)",
                [(m.step, m.ended_s, np.array(m.losses, np.float64).tobytes()) for m in marks],
            )
            execute("INSERT INTO metric VALUES (?, ?, ?)", [(m.step, m.name, m.value) for m in metrics])
            self._connection.execute("COMMIT")
        except sqlite3.Error as fault:
            raise RecordError(f"the run's file cannot be written ({fault}); is its disk full, or another run at it?") from fault
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def read(self) -> Run:
        """Everything that was written so far."""
        return _read(self._connection)

    def close(self) -> None:
        """Folds the write-ahead log into the file and lets go of it. The file then opens from a read-only folder too."""
        with suppress(sqlite3.OperationalError):  # somebody is reading it at this moment: it stays in WAL mode, and whole
            self._connection.execute("PRAGMA journal_mode = DELETE")
        self._connection.close()


def load(path: Path) -> Run:
    """The run that a journal holds; also one that is being written, or whose process was killed.

    Raises RecordError where the file is missing, foreign, truncated, or of an older or newer format than this version's.
    """
    if not path.is_file():
        raise RecordError(f"{path}: no such run; give a run's folder or its run.sqlite")
    try:
        address = f"{path.resolve().as_uri()}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
            connection.execute("BEGIN")  # one view of the file, whatever a writer adds meanwhile
            _require_ours(connection, path)
            return _read(connection)
    except (sqlite3.Error, ValueError, TypeError) as fault:
        raise RecordError(f"{path}: not a readable run ({fault}); the file is foreign, damaged or cut short") from fault


def attach_race(path: Path, race: RaceResult) -> None:
    """Adds the result of a race to a finished run's file."""
    load(path)
    journal = Journal(sqlite3.connect(path, isolation_level=None))
    try:
        journal.write(race=race)
    finally:
        journal.close()


def _unwritable(path: Path | None, fault: sqlite3.Error) -> RecordError:
    return RecordError(f"{path}: the run's file cannot be written ({fault}); choose another folder with --out")


def _require_ours(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise RecordError(f"{path}: an SQLite file, but not a run of unvanish; give a run's folder or its run.sqlite")
    if not OLDEST_VERSION <= version <= VERSION:
        advice = "update unvanish" if version > VERSION else "run the script again"
        raise RecordError(f"{path}: written in format {version}, and this version reads format {VERSION}; {advice}")
    if _is_cut(path):
        raise RecordError(f"{path}: cut short; restore it from a copy")
    (health,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if health != "ok":
        raise RecordError(f"{path}: damaged or cut short ({health}); restore it from a copy")


def _is_cut(path: Path) -> bool:
    """Whether a file is shorter than its header says: SQLite reads what is missing at the end of a long value as zeros.

    Bytes 16 to 17 hold the size of a page, where 1 stands for 65,536; bytes 28 to 31 the number of pages. While a write-ahead log
    stands beside the file, its pages may be on their way into it, and the header may have gone ahead of them.
    """
    log = path.with_name(f"{path.name}-wal")
    if log.is_file() and log.stat().st_size:
        return False
    with path.open("rb") as file:
        head = file.read(32)
    page = int.from_bytes(head[16:18], "big")
    return path.stat().st_size < int.from_bytes(head[28:32], "big") * (65536 if page == 1 else page)


def _read(connection: sqlite3.Connection) -> Run:
    documents: dict[str, Any] = {name: json.loads(body) for name, body in connection.execute("SELECT name, body FROM document")}
    rows = connection.execute("SELECT * FROM reading ORDER BY step").fetchall()
    marks = connection.execute("SELECT step, ended_s, losses FROM step ORDER BY step").fetchall()
    losses = [np.frombuffer(blob, np.float64) for _, _, blob in marks]
    metrics = connection.execute("SELECT step, name, value FROM metric ORDER BY rowid").fetchall()
    return Run(
        facts=from_plain(Facts, documents.get("facts", {})),
        structure=from_plain(ModelStructure, documents.get(STRUCTURE, {})),
        sampled=np.array([row[0] for row in rows], np.int64),
        readings=_unpack(rows, documents.get("quantities", FORMAT_2_QUANTITIES)),
        steps=np.array([mark[0] for mark in marks], np.int64),
        ended_s=np.array([mark[1] for mark in marks], np.float64),
        losses=_stack(losses),
        metrics=tuple(Metric(step, name, float("nan") if value is None else value) for step, name, value in metrics),
        race=from_plain(RaceResult, upgrade_race(documents["race"])) if "race" in documents else None,
        examination=from_plain(Examination, upgrade_examination(documents["examination"])) if "examination" in documents else None,
    )


def _unpack(rows: list[Any], stored: Mapping[str, Sequence[str]]) -> dict[str, Matrix]:
    """Each quantity of this version as a matrix (sampled steps, length of its axis), NaN where the file has none of that name.

    `stored` names the quantities of the file by axis, in the order in which its rows pack them.
    """
    readings: dict[str, Matrix] = {}
    for position, axis in enumerate(Axis, start=2):
        names = stored.get(axis, ())
        blocks = [np.frombuffer(row[position], np.float32).reshape(len(names), -1) for row in rows if names]
        by_name = {name: _stack([block[index] for block in blocks]) for index, name in enumerate(names)}
        missing = np.full((len(rows), max((block.shape[1] for block in blocks), default=0)), np.nan)
        readings |= {quantity.name: by_name.get(quantity.name, missing) for quantity in quantities(axis)}
    return readings


def _stack(vectors: list[Any]) -> Matrix:
    """The vectors as rows of one matrix, padded with NaN: sites, parameters and objectives may join while a run goes on."""
    width = max((len(v) for v in vectors), default=0)
    matrix = np.full((len(vectors), width), np.nan)
    for row, vector in zip(matrix, vectors, strict=True):
        row[: len(vector)] = vector
    return matrix
