"""How the table of compatibility compares runs, sees what they leave, and is written as a page."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

import pytest
from compatibility.comparison import differing_output, differing_roughly, last_figure, new_errors
from compatibility.page import format_page
from compatibility.process import Ended, environment, run_command
from compatibility.project import lay_out
from compatibility.row import Cell, Row, RowResult, State
from compatibility.rows import ROWS

from compatibility import snapshot


def ended(output: str, errors: str = "") -> Ended:
    return Ended(0, output, errors, 1.0, 0)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_program_can_be_laid_out_healthy_and_sick(row: Row, tmp_path: Path) -> None:
    healthy, sick = lay_out(row, tmp_path / "healthy", sick=False), lay_out(row, tmp_path / "sick", sick=True)
    names = snapshot.by_content(healthy).keys()
    assert names == snapshot.by_content(sick).keys()
    changed = {name for name in names if (healthy / name).is_file() and (healthy / name).read_bytes() != (sick / name).read_bytes()}
    assert changed == {replacement.file for replacement in (row.twin.replacements if row.twin else ())}
    for path in sick.rglob("*.py"):
        compile(path.read_text(encoding="utf-8"), path.name, "exec")
    assert row.twin is not None or row.why


def test_names_of_rows_are_unique() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_a_line_that_varies_alone_is_not_compared_and_every_other_is() -> None:
    alone, again = ended("loss 0.5\ntook 1.2 s\n"), ended("loss 0.5\ntook 1.3 s\n")
    assert differing_output(alone, again, ended("loss 0.5\ntook 9.9 s\n")) == ([], ["took 1.2 s"])
    assert differing_output(alone, again, ended("loss 0.6\ntook 1.2 s\n")) == (
        ["'loss 0.6' in place of 'loss 0.5'"],
        ["took 1.2 s"],
    )
    assert differing_output(alone, again, ended("loss 0.5\ntook 1.2 s\nmore\n"))[0] == ["more"]
    assert differing_output(alone, again, ended("loss 0.5\n"))[0] == ["1 lines in place of 2"]


def test_a_run_alone_that_is_not_repeated_is_compared_by_its_hashes_and_words() -> None:
    alone = ended("took 1.2 s\nfingerprint of losses x1a\n")
    assert differing_roughly(alone, ended("took 9.9 s\nfingerprint of losses x1a\n")) == []
    assert len(differing_roughly(alone, ended("took 1.2 s\nfingerprint of losses x1b\n"))) == 1
    assert len(differing_roughly(alone, ended("took 1.2 s\n"))) == 1
    assert len(differing_roughly(alone, ended("gave up at 1.2 s\nfingerprint of losses x1a\n"))) == 1


def test_a_warning_that_only_the_watched_run_has_is_seen_and_progress_bars_are_not() -> None:
    alone = ended("", "epoch 1:  50%|█████     | 5/10\repoch 1: 100%|██████████| 10/10\n")
    assert new_errors(alone, alone, ended("", "epoch 1:  70%|███████   | 7/10\nunvanish: nothing to watch\n")) == []
    assert new_errors(alone, alone, ended("", "UserWarning: a hook\n")) == ["UserWarning: a hook"]


@pytest.mark.parametrize("line", ["val_accuracy 0.97", "val_accuracy: 0.97", "{'val_accuracy': 0.97}", "val_accuracy=0.97, x=1"])
def test_the_last_figure_is_read_however_it_is_printed(line: str) -> None:
    assert last_figure(f"val_accuracy 0.1\n{line}\nsval_accuracy 0.3\n", "val_accuracy") == 0.97
    assert last_figure("nothing", "val_accuracy") is None


def test_changes_of_a_folder_are_seen_though_its_sizes_stay(tmp_path: Path) -> None:
    for name in ("same", "other", "lost"):
        (tmp_path / name).write_text(name)
    before, states = snapshot.by_content(tmp_path), snapshot.by_state(tmp_path)
    assert snapshot.changes(before, snapshot.by_content(tmp_path)) == []
    (tmp_path / "other").write_text("rehto")
    (tmp_path / "lost").unlink()
    (tmp_path / "new").mkdir()
    assert snapshot.changes(before, snapshot.by_content(tmp_path)) == ["new: new", "gone: lost", "changed: other"]
    changed = snapshot.changes(states, snapshot.by_state(tmp_path))
    assert changed == [f"gone: {tmp_path / 'lost'}", f"changed: {tmp_path / 'other'}"]


def test_a_command_that_does_not_end_is_killed_with_what_it_started_and_what_goes_on_is_counted(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    variables = environment(tmp_path / "home", tmp_path / "bin", {"SEED": "3"})
    code = "import os, subprocess, sys; print(os.environ['SEED'], os.environ['HOME']); "
    sleeper = f"subprocess.Popen(['{sys.executable}', '-c', 'import time; time.sleep(60)']); "
    (tmp_path / "work").mkdir()
    left = run_command(("python", "-c", code + sleeper), tmp_path / "work", variables=variables, limit_s=60)
    assert (left.code, left.output.split(), left.left_running) == (0, ["3", str(tmp_path / "home")], 1)
    endless = run_command(("python", "-c", code + "import time; time.sleep(60)"), tmp_path / "work", variables=variables, limit_s=1)
    assert endless.code is None


def test_the_page_has_a_mark_for_each_cell_and_says_why_one_is_not_green() -> None:
    row = Row("one", "Group", "a row", "plain_loop")
    result = RowResult(
        "one", "stamp", {"same": Cell(State.YES), "silent": Cell(State.NO, "it says `x`"), "named": Cell(State.DOES_NOT_APPLY, "")}
    )
    page = format_page([row], {"one": result}, datetime.date(2026, 1, 2))
    assert "| `one` | a row | yes | **no** | ? | – | ? | ? | ? | ? |" in page
    assert "- `one`: healthy: silent: it says 'x'.\n" in page
    assert "Written 2026-01-02" in page
    later = format_page([row], {"one": result}, datetime.date(2026, 1, 2), stale=["one"])
    assert "| `one` | a row | yes\\* | **no**\\* | ? | –\\* | ?" in later
