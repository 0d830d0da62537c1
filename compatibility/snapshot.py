"""What lies in a folder, and what has changed in it."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

Snapshot = Mapping[str, str]
"""A path below the folder, to what tells its content."""

NUMBERS = re.compile(r"\d+")
RANDOM_NAME = re.compile(r"(?<=tmp)[a-z0-9_]{8}")


def by_content(folder: Path) -> dict[str, str]:
    """Every file and link below a folder with a hash of its content and its time of change; git's own folder aside."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.split(os.sep, 1)[0] == ".git":
            continue
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_file():
            found[name] = f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.stat().st_mtime_ns}"
        else:
            found[name] = "folder"
    return found


def by_state(folder: Path) -> dict[str, str]:
    """Every file below a large folder with its size, inode and time of change, which no write leaves as they were."""
    found: dict[str, str] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)  # noqa: PTH118 - a hundred thousand files
            state = os.lstat(path)
            found[path] = f"{state.st_size} {state.st_ino} {state.st_mtime_ns}"
    return found


def of_site_packages() -> dict[str, str]:
    """Every file of the packages that this interpreter imports from."""
    found: dict[str, str] = {}
    for folder in {Path(entry).resolve() for entry in sys.path if Path(entry).name in {"site-packages", "dist-packages"}}:
        found |= by_state(folder)
    return found


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """The paths that are new, gone or otherwise, each with which of these it is."""
    new = [f"new: {path}" for path in after if path not in before]
    gone = [f"gone: {path}" for path in before if path not in after]
    return new + gone + [f"changed: {path}" for path in before if path in after and before[path] != after[path]]


def without_numbers(paths: list[str]) -> set[str]:
    """Paths in which times, process ids and random names are blanked, so that two runs can be compared."""
    return {NUMBERS.sub("#", RANDOM_NAME.sub("?", path)) for path in paths}
