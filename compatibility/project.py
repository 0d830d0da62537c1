"""Lays out a program in a folder of its own, healthy or sick, as a git tree with one commit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from compatibility.row import Replacement, Row

PROGRAMS = Path(__file__).parent / "programs"
IGNORED = "__pycache__/\n"


def lay_out(row: Row, folder: Path, *, sick: bool) -> Path:
    """The folder, now with the row's program in it; `sick` lays out its twin.

    Raises ValueError where a replacement of the twin has nothing to replace.
    """
    own = PROGRAMS / row.program
    for source, target in ((PROGRAMS / "shared", folder / row.shared_into), (own, folder)):
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".gitignore").write_text(IGNORED, encoding="utf-8")
    if sick and row.twin is not None:
        for replacement in row.twin.replacements:
            replace(folder, replacement)
    identity = ("-c", "user.name=Compatibility", "-c", "user.email=compatibility@example.org")
    for command in (("init", "--quiet"), ("add", "."), (*identity, "commit", "--quiet", "--message", row.title)):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def replace(folder: Path, replacement: Replacement) -> None:
    """Replaces every occurrence of a text in a file of the folder."""
    path = folder / replacement.file
    text = path.read_text(encoding="utf-8")
    if replacement.old not in text:
        raise ValueError(f"{replacement.file}: {replacement.old!r} is not in it, so the sick twin cannot be made")
    path.write_text(text.replace(replacement.old, replacement.new), encoding="utf-8")


def apply_patch(folder: Path, patch: str) -> str:
    """Applies a patch to the folder's files; what git says where it cannot, else ""."""
    ended = subprocess.run(["git", "apply", "-"], cwd=folder, input=patch, text=True, capture_output=True)
    return ended.stderr.strip() if ended.returncode else ""
