"""Which folders a trial may write in: its own, the system's, and temporary ones in which the user does not work."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from unvanish.trials.isolation.write_barrier import writable_folders


def test_temporary_folders_are_writable_but_for_those_on_the_way_to_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("work/project", "work/other", "of_others", "trial"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "work")
    folders = writable_folders([tmp_path / "trial", tmp_path / "nowhere"], [tmp_path / "link" / "project"])
    inside = [str(folder.relative_to(tmp_path)) for folder in folders if folder.is_relative_to(tmp_path)]
    assert sorted(inside) == ["of_others", "trial"]
    assert Path("/dev") in folders
    assert tmp_path in writable_folders([], [Path("/home/u/project")])
