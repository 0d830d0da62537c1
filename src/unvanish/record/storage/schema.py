"""The tables of a run's file and the number of its format."""

from __future__ import annotations

from unvanish.record.quantities import Axis

APPLICATION_ID = 0x756E7661  # "unva", so that `file` and we ourselves know the kind
VERSION = 4
OLDEST_VERSION = 2  # that is still read: see migrations.py
FIRST_WITH_CHECKSUMS = 4  # rows of older formats are read as they are

STRUCTURE = "anatomy"  # the name under which every format has stored the structure of the model

_AXES = ", ".join(f'"{axis}" BLOB' for axis in Axis)

# Each row ends with the checksum of what stands before it. SQLite keeps these texts to the letter, so that they can be compared.
TABLES = {
    "document": "CREATE TABLE document (name TEXT PRIMARY KEY, body TEXT NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID",
    "reading": f"CREATE TABLE reading (step INTEGER PRIMARY KEY, own_ms REAL NOT NULL, {_AXES}, checksum INTEGER NOT NULL)",
    "step": (
        "CREATE TABLE step (step INTEGER PRIMARY KEY, ended_s REAL NOT NULL, losses BLOB NOT NULL, checksum INTEGER NOT NULL)"
    ),
    "metric": (
        "CREATE TABLE metric (number INTEGER PRIMARY KEY, step INTEGER NOT NULL, name TEXT NOT NULL, value REAL, "
        "checksum INTEGER NOT NULL)"
    ),
}

CREATE = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
{"; ".join(TABLES.values())};
"""
