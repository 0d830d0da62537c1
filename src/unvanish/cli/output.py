"""Where our words go: standard error for people, a file or standard output for JSON. The script's own output is never touched."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unvanish.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from unvanish.record.finding import Finding
    from unvanish.record.run import Run


def terminal() -> Console:
    """Standard error as a rich console: plain text where it is not a terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def write_json(place: str, run: Run, findings: Sequence[Finding]) -> None:
    """The diagnosis as JSON in a file, or on standard output where `place` is "-".

    Raises UsageError where the file cannot be written.
    """
    from unvanish.report import json_document

    text = json_document.dumps(json_document.diagnosis(run, findings))
    if place == "-":
        print(text, file=sys.stdout, flush=True)
        return
    try:
        Path(place).write_text(text + "\n", encoding="utf-8")
    except OSError as fault:
        raise UsageError(f"{place} cannot be written ({fault.strerror}); give --json another file") from fault
