"""Writing a patch to the user's files: only where git could take it back, whole files, modes and line endings kept."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from unvanish.errors import UsageError
from unvanish.workflows.git import require_clean, write_files


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "train.py").write_bytes(b"a = 1\r\n")
    (tmp_path / "train.py").chmod(0o755)
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "first"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_a_clean_tree_is_written_to_and_files_that_git_does_not_know_do_not_matter(tree: Path) -> None:
    (tree / "unknown.txt").write_text("")
    require_clean(tree)
    write_files({tree / "train.py": "a = 2\r\n"})
    assert (tree / "train.py").read_bytes() == b"a = 2\r\n"
    assert (tree / "train.py").stat().st_mode & 0o777 == 0o755
    assert sorted(path.name for path in tree.iterdir()) == [".git", "train.py", "unknown.txt"]


def test_a_file_keeps_its_encoding(tree: Path) -> None:
    (tree / "train.py").write_bytes("# -*- coding: latin-1 -*-\na = 'é'\n".encode("latin-1"))
    write_files({tree / "train.py": "# -*- coding: latin-1 -*-\na = 'éé'\n"})
    assert (tree / "train.py").read_bytes() == "# -*- coding: latin-1 -*-\na = 'éé'\n".encode("latin-1")


def test_a_tree_with_changes_is_refused(tree: Path) -> None:
    (tree / "train.py").write_text("a = 3\n")
    with pytest.raises(UsageError, match=r"train\.py has changes that are not committed"):
        require_clean(tree)


def test_a_folder_outside_git_and_a_file_that_is_gone_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is in no git tree"):
        require_clean(tmp_path)
    with pytest.raises(UsageError, match="cannot be written"):
        write_files({tmp_path / "gone" / "train.py": ""})
