"""The core of the table of compatibility: each program runs the same watched, and its sick twin is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from compatibility.examine import Examination, missing_needs
from compatibility.row import State
from compatibility.rows import ROWS

CORE = ("lightning", "transformers-own", "keras")
BY_NAME = {row.name: row for row in ROWS}


@pytest.mark.parametrize("name", CORE)
def test_a_program_runs_the_same_watched_and_its_sick_twin_is_named(name: str, tmp_path: Path) -> None:
    row = BY_NAME[name]
    if missing := missing_needs(row):
        pytest.skip(f"not installed: {', '.join(missing)}")
    cells = Examination(row, tmp_path / "row", repeats=False).examine(("same", "silent", "named"))
    assert {column: cell for column, cell in cells.items() if cell.state is not State.YES} == {}
