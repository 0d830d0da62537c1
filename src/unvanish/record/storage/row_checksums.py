"""The checksum of a row in a run's file, by which a damaged value is noticed that SQLite itself takes for a good one."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from unvanish.errors import RecordError

Row = tuple[Any, ...]


def row_checksum(table: str, row: Row) -> int:
    """CRC-32 of a row's values (int, float, str, bytes or None, as SQLite gives them back) and of the table that it stands in.

    Cost: about two microseconds, and one more for each kilobyte of bytes.

    Example:
        >>> row_checksum("metric", (1, "accuracy", 0.5)) == row_checksum("metric", (1, "accuracy", 0.625))
        False
    """
    checksum = zlib.crc32(repr((table, *(len(value) if isinstance(value, bytes) else value for value in row))).encode())
    for value in row:
        if isinstance(value, bytes):
            checksum = zlib.crc32(value, checksum)
    return checksum


def with_checksums(table: str, rows: Iterable[Row]) -> list[Row]:
    """The rows of a table as they are stored, each with its checksum behind its values."""
    return [(*row, row_checksum(table, row)) for row in rows]


def verified(table: str, stored: Iterable[Row]) -> Iterator[Row]:
    """The rows of a table without their checksums, which are compared.

    Raises RecordError, with the row's key, where a row is not what was written.
    """
    for *values, checksum in stored:
        row = tuple(values)
        if row_checksum(table, row) != checksum:
            raise RecordError(f"damaged: the {table} {row[0]!r} is not as it was written; restore a copy, or run the script again")
        yield row
