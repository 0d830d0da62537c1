"""The folder of a run: created before it, removed where nothing came of it, and at the end filled with the page of the report."""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from unvanish.errors import UsageError
from unvanish.record.storage.file_names import PAGE_FILE, RUN_FILE

if TYPE_CHECKING:
    from unvanish.record.finding import Finding
    from unvanish.record.run import Run
    from unvanish.trials import ScriptExit

IGNORE_FILE = ".gitignore"


@dataclass(frozen=True, slots=True)
class Checkup:
    """A watched script: how it ended, its record, its findings, and the page of the report (None: it could not be drawn)."""

    exit: ScriptExit
    run: Run
    findings: list[Finding]
    page: Path | None


@dataclass(frozen=True, slots=True)
class NotWatched:
    """A script that ran to an end of its own, and of which nothing could be watched; `reason` is the line that says why."""

    exit: ScriptExit
    reason: str


def conclude(script_exit: ScriptExit, run: Run, folder: Path) -> Checkup:
    """The run diagnosed, its page in the folder."""
    from unvanish.plugins.rules import diagnose
    from unvanish.report.page import run_page

    findings = diagnose(run)
    try:
        page: Path | None = run_page.write_page(folder / PAGE_FILE, run, findings)
    except Exception as fault:  # the script's own answer and the rest of ours are not lost over a picture
        page = None
        print_to_stderr(f"the page could not be drawn ({type(fault).__name__}: {fault}); the run is whole in {folder / RUN_FILE}")
    return Checkup(script_exit, run, findings, page)


def create_folder(folder: Path) -> list[Path]:
    """The folders that had to be created, innermost first, so that `folder` can be written to; it must hold no run yet.

    One that is created is ignored by git, so that a run leaves the state of the user's tree as it was.

    Raises UsageError where it cannot be written to, or holds a run.
    """
    created = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as fault:
        raise UsageError(f"{folder} cannot be written to ({fault.strerror}); choose another folder with --out") from fault
    if (folder / RUN_FILE).exists():
        raise UsageError(f"{folder} holds another run already; choose another folder with --out")
    if created:
        (folder / IGNORE_FILE).write_text("*\n", encoding="utf-8")
    return created


def remove_folder(folder: Path, created: list[Path]) -> None:
    """Removes the folders that were created for a run that came to nothing."""
    for file in folder.glob(f"{RUN_FILE}*"):
        file.unlink()
    if folder in created:
        (folder / IGNORE_FILE).unlink(missing_ok=True)
    with suppress(OSError):  # the script may keep files of its own there
        for parent in created:
            parent.rmdir()


def print_to_stderr(line: str, *, stream: TextIO | None = None) -> None:
    """A line of ours on `stream`, by default standard error; where the script has closed that, there is nobody to tell."""
    with suppress(OSError, ValueError):
        print(f"unvanish: {line}", file=stream or sys.stderr)
