"""The folder of a run: created before it, removed where nothing came of it, and at the end filled with the page of the report."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unvanish.errors import FolderTaken, UnvanishError, UsageError
from unvanish.record.storage.file_names import PAGE_FILE, RUN_FILE
from unvanish.standard_error import print_to_stderr

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
    """A script that ran to an end of its own, and of which nothing can be shown; `reason` is the line that says why.

    With `has_record` its folder may hold a record, and is kept.
    """

    exit: ScriptExit
    reason: str
    has_record: bool = False


def conclude(script_exit: ScriptExit, run: Run, folder: Path) -> Checkup:
    """The run diagnosed, its page in the folder."""
    from unvanish.plugins.rules import diagnose
    from unvanish.report.page import run_page

    findings = diagnose(run)
    try:
        page: Path | None = run_page.write_page(folder / PAGE_FILE, run, findings)
    except Exception as fault:  # the script's own answer and the rest of ours are not lost over a picture
        page = None
        reason = (
            str(fault) if isinstance(fault, UnvanishError) else f"the page could not be drawn ({type(fault).__name__}: {fault})"
        )
        print_to_stderr(reason)
    return Checkup(script_exit, run, findings, page)


def create_folder(folder: Path) -> list[Path]:
    """The folders that had to be created, innermost first, so that `folder` can be written to; it must hold no run yet.

    An empty file of the run is made in it, so that of several processes one alone gets the folder. A folder that is created is
    ignored by git, so that a run leaves the state of the user's tree as it was.

    Raises FolderTaken where it holds a run, UsageError where it cannot be written to.
    """
    created = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(folder / RUN_FILE, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except FileExistsError as fault:
        if not folder.is_dir():
            raise _unwritable(folder, fault) from fault
        raise FolderTaken(f"{folder} holds another run already; choose another folder with --out") from fault
    except OSError as fault:
        _remove_empty(created)
        raise _unwritable(folder, fault) from fault
    if created:
        with suppress(OSError):
            (folder / IGNORE_FILE).write_text("*\n", encoding="utf-8")
    return created


def release_folder(folder: Path) -> None:
    """Gives a folder back that `create_folder` took and in which no run was written."""
    with suppress(OSError):
        if not (folder / RUN_FILE).stat().st_size:
            (folder / RUN_FILE).unlink()


def remove_folder(folder: Path, created: list[Path]) -> None:
    """Removes the folders that were created for a run that came to nothing."""
    for file in folder.glob(f"{RUN_FILE}*"):
        with suppress(OSError):
            file.unlink()
    if folder in created:
        with suppress(OSError):
            (folder / IGNORE_FILE).unlink()
    _remove_empty(created)


def _remove_empty(folders: list[Path]) -> None:
    with suppress(OSError):  # the script may keep files of its own there
        for folder in folders:
            folder.rmdir()


def _unwritable(folder: Path, fault: OSError) -> UsageError:
    return UsageError(f"{folder} cannot be written to ({fault.strerror}); choose another folder with --out")
