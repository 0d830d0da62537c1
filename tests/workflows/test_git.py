"""Writing a patch to the user's files: only where git could take it back, all files or none, modes and line endings kept."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from unvanish.errors import UsageError
from unvanish.workflows.git import require_clean, write_files


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", *arguments], cwd=folder, check=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "nets").mkdir(parents=True)
    (tree / "train.py").write_bytes(b"a = 1\r\n")
    (tree / "train.py").chmod(0o755)
    (tree / "nets" / "nétwork.py").write_bytes(b"b = 1\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        git(tree, *command)
    return tree


def contents(tree: Path) -> dict[str, bytes]:
    files = (path for path in tree.rglob("*") if path.is_file() and ".git" not in path.parts)
    return {str(path.relative_to(tree)): path.read_bytes() for path in files}


def test_a_clean_tree_is_written_to_and_files_that_git_does_not_know_do_not_matter(tree: Path) -> None:
    (tree / "unknown.txt").write_text("")
    checked = require_clean(tree, [tree / "train.py"])
    written = write_files({tree / "train.py": "a = 2\r\n", tree / "nets" / "nétwork.py": "b = 2\n"}, checked)
    assert written == [tree / "train.py", tree / "nets" / "nétwork.py"]
    assert contents(tree) == {"train.py": b"a = 2\r\n", "nets/nétwork.py": b"b = 2\n", "unknown.txt": b""}
    assert (tree / "train.py").stat().st_mode & 0o777 == 0o755


def test_a_file_keeps_its_encoding(tree: Path) -> None:
    (tree / "train.py").write_bytes("# -*- coding: latin-1 -*-\na = 'é'\n".encode("latin-1"))
    git(tree, "commit", "-qam", "second")
    write_files({tree / "train.py": "# -*- coding: latin-1 -*-\na = 'éé'\n"}, require_clean(tree))
    assert (tree / "train.py").read_bytes() == "# -*- coding: latin-1 -*-\na = 'éé'\n".encode("latin-1")


def test_a_tree_with_changes_is_refused(tree: Path) -> None:
    (tree / "train.py").write_text("a = 3\n")
    with pytest.raises(UsageError, match=r"train\.py has changes that are not committed"):
        require_clean(tree)


def test_a_folder_outside_git_and_one_without_a_commit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is in no git tree"):
        require_clean(tmp_path)
    git(tmp_path, "init", "-q")
    with pytest.raises(UsageError, match="nothing is committed yet"):
        require_clean(tmp_path)


def test_a_script_that_git_does_not_track_is_refused_at_once(tree: Path) -> None:
    (tree / "new.py").write_text("")
    with pytest.raises(UsageError, match=r"new\.py is not tracked by git"):
        require_clean(tree, [tree / "new.py"])
    with pytest.raises(UsageError, match=r"train\.py lies outside of .*nets"):
        require_clean(tree / "nets", [tree / "train.py"])


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("new", "is not tracked by git"),
        ("changed", "has changes that are not committed"),
        ("changed behind git's back", "has changes that are not committed"),
        ("committed meanwhile", "has changes that are not committed"),
        ("gone", "has changes that are not committed"),
        ("outside", "lies outside of"),
        ("linked outside", "lies outside of"),
        ("in a submodule", "is not tracked by git"),
        ("in a folder that is read-only", "cannot be"),
    ],
)
def test_where_one_file_must_not_be_written_none_is(tree: Path, what: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = {"new": "new.py", "outside": "../outside.py", "linked outside": "link.py", "in a submodule": "sub/net.py"}
    (tree.parent / "outside.py").write_text("c = 1\n")
    (tree / "link.py").symlink_to(tree.parent / "outside.py")
    git(tree, "add", "link.py")
    git(tree, "commit", "-qm", "second")
    path, checked = tree / other.get(what, "nets/nétwork.py"), require_clean(tree)
    if what in ("new", "in a submodule"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("c = 1\n")
    if what == "in a submodule":
        for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
            git(path.parent, *command)
    if what.startswith("changed") or what == "committed meanwhile":
        path.write_text("c = 1\n")
    if what == "changed behind git's back":
        git(tree, "update-index", "--assume-unchanged", "nets/nétwork.py")
    if what == "committed meanwhile":
        git(tree, "commit", "-qam", "third")
    if what == "gone":
        path.unlink()
    if what == "in a folder that is read-only":
        replace = Path.replace

        def refuse(draft: Path, target: Path) -> Path:
            if target == path:
                raise PermissionError(13, "Permission denied")
            return replace(draft, target)

        monkeypatch.setattr(Path, "replace", refuse)
    before = contents(tree.parent)
    with pytest.raises(UsageError, match=f"nothing was written, since .* {reason}"):
        write_files({tree / "train.py": "a = 2\r\n", path: "c = 2\n"}, checked)
    assert contents(tree.parent) == before
