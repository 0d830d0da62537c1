"""Writes a patch to the user's own files, only where git can take it back."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from unvanish.errors import UsageError
from unvanish.patch import encode_source

BY_HAND = "apply unvanish.patch by hand"


@dataclass(frozen=True, slots=True)
class CheckedFolder:
    """A folder below which files may be written that are as they are in `commit`."""

    path: Path
    commit: str


def require_clean(folder: Path, files: Sequence[Path] = ()) -> CheckedFolder:
    """The folder with its present commit, once it is sure that git could give back every file that it tracks there.

    Arguments:
        folder: the one to check.
        files: files that git must track, such as the script.

    Raises UsageError with what to do: where the folder is in no git tree, nothing is committed yet, or files have changes that are
    not committed.
    """
    status = _git(folder, "status", "--porcelain", "-z", "--untracked-files=no")
    if status is None:
        raise UsageError(f"--write: {folder} is in no git tree, so a change could not be taken back; use git init, or leave it out")
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if commit is None:
        raise UsageError(f"--write: nothing is committed yet in {folder}, so a change could not be taken back; commit first")
    if status:
        raise UsageError(f"--write: {status.split(chr(0))[0][3:]} has changes that are not committed; commit or stash them first")
    checked = CheckedFolder(folder.resolve(), commit.strip())
    for file in files:
        if reason := _why_not_written(file, checked):
            raise UsageError(f"--write: {file} {reason}")
    return checked


def write_files(edits: Mapping[Path, str], checked: CheckedFolder) -> list[Path]:
    """Writes the texts to their files, all or none, each in its encoding and with its mode; the files that were written.

    Raises UsageError, and writes nothing, where a file lies outside of the folder that was checked, is not what it was in the
    commit, or cannot be written.
    """
    files = {path.resolve(): text for path, text in edits.items()}
    for path in files:
        if reason := _why_not_written(path, checked):
            raise UsageError(f"--write: nothing was written, since {path} {reason}; {BY_HAND}")
    drafts: dict[Path, Path] = {}
    written: dict[Path, bytes] = {}
    path = checked.path
    try:
        for path, text in files.items():
            drafts[path] = _draft(path, text)
        for path, draft in drafts.items():
            before = path.read_bytes()
            draft.replace(path)
            written[path] = before
    except OSError as fault:
        _restore(written)
        raise UsageError(f"--write: nothing was written, since {path} cannot be ({fault.strerror}); {BY_HAND}") from fault
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    return list(files)


def _draft(path: Path, text: str) -> Path:
    """A file beside another one, with a text in the encoding and with the mode of that one."""
    content, mode = encode_source(text, like=path.read_bytes()), path.stat().st_mode
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as draft:
        try:
            draft.write(content)
            Path(draft.name).chmod(mode)
        except OSError:
            Path(draft.name).unlink()
            raise
    return Path(draft.name)


def _restore(contents: Mapping[Path, bytes]) -> None:
    for path, content in contents.items():
        with suppress(OSError):
            path.write_bytes(content)


def _why_not_written(file: Path, checked: CheckedFolder) -> str:
    """Why a file must not be written, as the rest of a sentence about it; "" where it may be."""
    path = file.resolve()
    if not path.is_relative_to(checked.path):
        return f"lies outside of {checked.path}, which was checked"
    name = str(path.relative_to(checked.path))
    entry = _git(checked.path, "--literal-pathspecs", "ls-tree", "-z", checked.commit, "--", name)
    if not entry:
        return "is not tracked by git, so a change could not be taken back; use git add and commit it"
    # Not `git status`: it believes the index, in which a file may be marked as unchanged.
    content = _git(checked.path, "hash-object", f"--path={name}", "--", name)
    is_unchanged = content is not None and content.strip() == entry.partition("\t")[0].split()[2]
    return "" if is_unchanged else "has changes that are not committed"


def _git(folder: Path, *arguments: str) -> str | None:
    """The output of a git command in a folder; None where it fails."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as fault:
        raise UsageError(f"--write needs git, which is not installed; leave it out and {BY_HAND}") from fault
    return None if done.returncode else done.stdout
