"""Reads a run from an open file, after making sure that it is one, whole, and of a format that is known."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unvanish.errors import RecordError
from unvanish.record.examination import Examination
from unvanish.record.quantities import Axis, Metric, quantities
from unvanish.record.races.verdict import RaceResult
from unvanish.record.run import Facts, Matrix, Run
from unvanish.record.storage.migrations import FORMAT_2_QUANTITIES, upgrade_examination, upgrade_race
from unvanish.record.storage.row_checksums import Row, verified
from unvanish.record.storage.schema import APPLICATION_ID, FIRST_WITH_CHECKSUMS, OLDEST_VERSION, STRUCTURE, TABLES, VERSION
from unvanish.record.storage.serialisation import from_plain
from unvanish.record.structure import ModelStructure


def require_readable(connection: sqlite3.Connection, path: Path) -> None:
    """Raises RecordError where the file at `path` is foreign, cut short, damaged as a database, or of an unknown format."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    version = format_version(connection)
    if application != APPLICATION_ID:
        raise RecordError("an SQLite file, but not a run of unvanish; give a run's folder or its run.sqlite")
    if not OLDEST_VERSION <= version <= VERSION:
        advice = "update unvanish" if version > VERSION else "run the script again"
        raise RecordError(f"written in format {version}, and this version reads format {VERSION}; {advice}")
    if _is_cut(path):
        raise RecordError("cut short; restore it from a copy")
    (health,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if health != "ok":
        raise RecordError(f"damaged or cut short ({health}); restore it from a copy")
    if version >= FIRST_WITH_CHECKSUMS and dict(connection.execute("SELECT name, sql FROM sqlite_schema")) != TABLES:
        raise RecordError(f"damaged (its tables are not those of format {version}); restore it from a copy")


def format_version(connection: sqlite3.Connection) -> int:
    """The number of the format that a file says it is written in."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return version


def read_run(connection: sqlite3.Connection) -> Run:
    """Everything that an open file holds.

    Raises RecordError where a row is not as it was written, which files of the formats before 4 cannot tell.
    """
    has_checksums = format_version(connection) >= FIRST_WITH_CHECKSUMS

    def select(table: str, columns: str, order: str) -> list[Row]:
        if not has_checksums:
            return connection.execute(f"SELECT {columns} FROM {table} ORDER BY {order}").fetchall()
        return list(verified(table, connection.execute(f"SELECT * FROM {table} ORDER BY 1")))

    documents: dict[str, Any] = {name: json.loads(body) for name, body in select("document", "name, body", "name")}
    rows = select("reading", "*", "step")
    marks = select("step", "step, ended_s, losses", "step")
    metrics = select("metric", "rowid, step, name, value", "rowid")
    return Run(
        facts=from_plain(Facts, documents.get("facts", {})),
        structure=from_plain(ModelStructure, documents.get(STRUCTURE, {})),
        sampled=np.array([row[0] for row in rows], np.int64),
        readings=_unpack(rows, documents.get("quantities", FORMAT_2_QUANTITIES)),
        steps=np.array([mark[0] for mark in marks], np.int64),
        ended_s=np.array([mark[1] for mark in marks], np.float64),
        losses=_stack([np.frombuffer(losses, np.float64) for _, _, losses in marks]),
        metrics=tuple(Metric(step, name, float("nan") if value is None else value) for _, step, name, value in metrics),
        race=from_plain(RaceResult, upgrade_race(documents["race"])) if "race" in documents else None,
        examination=from_plain(Examination, upgrade_examination(documents["examination"])) if "examination" in documents else None,
    )


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


def _unpack(rows: Sequence[Row], stored: Mapping[str, Sequence[str]]) -> dict[str, Matrix]:
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


def _stack(vectors: Iterable[Any]) -> Matrix:
    """The vectors as rows of one matrix, padded with NaN: sites, parameters and objectives may join while a run goes on."""
    rows = list(vectors)
    matrix = np.full((len(rows), max((len(row) for row in rows), default=0)), np.nan)
    for target, row in zip(matrix, rows, strict=True):
        target[: len(row)] = row
    return matrix
