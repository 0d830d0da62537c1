"""A flipped bit in a run's file is either noticed, by the row that it is in, or changes nothing that is read."""

from __future__ import annotations

import random
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from rows import model_structure, row, write

from unvanish.errors import RecordError
from unvanish.record.run import Run
from unvanish.record.storage.journal import Journal, load
from unvanish.record.storage.row_checksums import row_checksum, verified, with_checksums

ROWS = [row(step) for step in range(1, 4)]
FLIPS = 450


def content_of(run: Run) -> str:
    """Everything that a run holds, to the bit."""
    readings = {name: values.tobytes() for name, values in run.readings.items()}
    arrays = [values.tobytes() for values in (run.sampled, run.steps, run.ended_s, run.losses)]
    return repr((run.facts, run.structure, run.metrics, run.race, run.examination, readings, arrays))


def flipped(content: bytes, count: int, seed: int) -> Iterator[bytes]:
    """The bytes with one bit flipped, so many times at another place."""
    for bit in random.Random(seed).sample(range(8 * len(content)), count):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


def test_a_flipped_bit_of_a_finished_run_is_noticed_or_harmless(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "whole.sqlite")
    write(journal, ROWS)
    journal.close()
    whole, damaged = content_of(load(tmp_path / "whole.sqlite")), tmp_path / "run.sqlite"
    outcomes: Counter[str] = Counter()
    for content in flipped((tmp_path / "whole.sqlite").read_bytes(), FLIPS, seed=1):
        damaged.write_bytes(content)
        outcomes[outcome(damaged, {whole: "same"})] += 1
        for left in tmp_path.glob("run.sqlite-*"):
            left.unlink()
    assert outcomes.keys() == {"same", "refused"}
    assert outcomes["refused"] > FLIPS / 6


@pytest.mark.parametrize("name", ["run.sqlite", "run.sqlite-wal"])
def test_a_flipped_bit_of_a_run_whose_process_was_killed_leaves_whole_steps_from_the_first(name: str, tmp_path: Path) -> None:
    written = tmp_path / "written.sqlite"
    journal, versions = Journal.create(written), dict[str, str]()
    versions[content_of(journal.read())] = "no step"
    journal.write(structure=model_structure())
    for count, each in enumerate(ROWS, start=1):
        versions[content_of(journal.read())] = f"{count - 1} steps"
        journal.write(reading=each.reading, marks=each.marks, metrics=each.metrics)
    versions[content_of(journal.read())] = "same"
    files = {suffix: written.with_name(f"written.sqlite{suffix}").read_bytes() for suffix in ("", "-wal")}
    journal.close()
    outcomes: Counter[str] = Counter()
    for content in flipped(files[name.removeprefix("run.sqlite")], FLIPS // 3, seed=2):
        for suffix, whole in files.items():
            (tmp_path / f"run.sqlite{suffix}").write_bytes(content if f"run.sqlite{suffix}" == name else whole)
        outcomes[outcome(tmp_path / "run.sqlite", versions)] += 1
        (tmp_path / "run.sqlite-shm").unlink(missing_ok=True)
    assert outcomes.keys() <= {*versions.values(), "refused"}
    assert len(outcomes) > 1 or name == "run.sqlite"  # every page of which stands in the log too


def outcome(path: Path, versions: dict[str, str]) -> str:
    """The name of the version that the file holds, "refused" where it is, "altered" where it is none of them."""
    try:
        return versions.get(content_of(load(path)), "altered")
    except RecordError as fault:
        return "refused" if str(fault).startswith(f"{path}: ") else "refused without its name"


def test_the_row_that_is_damaged_is_named_by_its_step_and_nothing_of_the_run_is_given(tmp_path: Path) -> None:
    path = tmp_path / "run.sqlite"
    journal = Journal.create(path)
    write(journal, ROWS)
    journal.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE reading SET own_ms = own_ms + 1e-9 WHERE step = 2")
    reason = f"{path}: damaged: the reading 2 is not as it was written; restore a copy, or run the script again"
    with pytest.raises(RecordError, match=re.escape(reason)):
        load(path)


def test_a_checksum_covers_each_value_the_table_and_where_one_value_ends() -> None:
    row_values = (1, 0.5, b"ab", b"cd", "text", None)
    others = [
        (2, 0.5, b"ab", b"cd", "text", None),
        (1, 0.25, b"ab", b"cd", "text", None),
        (1, 0.5, b"abc", b"d", "text", None),
        (1, 0.5, b"ab", b"ce", "text", None),
        (1, 0.5, b"ab", b"cd", "Text", None),
        (1, 0.5, b"ab", b"cd", "text", 0.0),
        (1.0, 0.5, b"ab", b"cd", "text", None),
    ]
    sums = {row_checksum("reading", row_values), row_checksum("step", row_values), *(row_checksum("reading", o) for o in others)}
    assert len(sums) == 2 + len(others)
    assert list(verified("reading", with_checksums("reading", [row_values, *others]))) == [row_values, *others]
