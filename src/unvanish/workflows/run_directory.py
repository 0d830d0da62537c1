"""The folder of a run: made, taken back where nothing came of it, and at the end filled with the page that tells it."""

from __future__ import annotations

import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unvanish.errors import UsageError

if TYPE_CHECKING:
    from unvanish.record.finding import Finding
    from unvanish.record.run import Run
    from unvanish.trials import Ending

RUN_FILE, PAGE = "run.sqlite", "report.html"


@dataclass(frozen=True, slots=True)
class Checkup:
    """A watched script: how it ended, its record, what was found, and the page that tells it (None: it could not be drawn)."""

    ending: Ending
    run: Run
    findings: list[Finding]
    page: Path | None


def conclude(ending: Ending, run: Run, folder: Path) -> Checkup:
    """The run diagnosed, its page in the folder."""
    from unvanish.plugins.rules import diagnose
    from unvanish.report.page import run_page

    findings = diagnose(run)
    try:
        written: Path | None = run_page.write(folder / PAGE, run, findings)
    except Exception as fault:  # the script's own answer and the rest of ours are not lost over a picture
        written = None
        say(f"the page could not be drawn ({type(fault).__name__}: {fault}); the run is whole in {folder / RUN_FILE}")
    return Checkup(ending, run, findings, written)


def make(folder: Path) -> list[Path]:
    """The folders that had to be made, innermost first, so that `folder` can be written to; it must hold no run yet."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as fault:
        raise UsageError(f"{folder} cannot be written to ({fault.strerror}); choose another folder with --out") from fault
    if (folder / RUN_FILE).exists():
        raise UsageError(f"{folder} holds another run already; choose another folder with --out")
    return made


def unmake(folder: Path, made: list[Path]) -> None:
    """Takes back the folders that were made for a run that came to nothing."""
    for file in folder.glob(f"{RUN_FILE}*"):
        file.unlink()
    with suppress(OSError):  # the script may keep files of its own there
        for each in made:
            each.rmdir()


def say(line: str) -> None:
    """A line of ours on standard error."""
    print(f"unvanish: {line}", file=sys.stderr)
