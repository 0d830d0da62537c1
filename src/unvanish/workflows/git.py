"""Writes a patch to the user's own files, only where git can take it back."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from unvanish.errors import UsageError
from unvanish.patch import encode_source


def require_clean(folder: Path) -> None:
    """Refuses a folder whose files git could not give back: one outside a git tree, or with changes that are not committed.

    Raises UsageError with what to do.
    """
    try:
        status = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"], cwd=folder, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as fault:
        raise UsageError("--write needs git, which is not installed; leave it out and apply unvanish.patch by hand") from fault
    if status.returncode:
        raise UsageError(f"--write: {folder} is in no git tree, so a change could not be taken back; use git init, or leave it out")
    if status.stdout.strip():
        changed = status.stdout.splitlines()[0][3:]
        raise UsageError(f"--write: {changed} has changes that are not committed; commit or stash them first")


def write_files(edits: Mapping[Path, str]) -> None:
    """Writes the texts to their files, each whole or not at all, in its encoding and with its mode.

    Raises UsageError where one cannot be written.
    """
    for path, text in edits.items():
        real = path.resolve()
        try:
            with tempfile.NamedTemporaryFile(dir=real.parent, delete=False) as draft:
                draft.write(encode_source(text, like=real.read_bytes()))
            Path(draft.name).chmod(real.stat().st_mode)
            Path(draft.name).replace(real)
        except OSError as fault:
            raise UsageError(f"{path} cannot be written ({fault.strerror}); apply unvanish.patch by hand") from fault
