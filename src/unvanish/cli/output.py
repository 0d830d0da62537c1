"""Where output goes: standard error for people, a file or standard output for JSON; the script's own output is not touched."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unvanish.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console


def terminal() -> Console:
    """Standard error as a rich console: plain text where it is not a terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def require_writable(target: str | None) -> None:
    """Refuses a file that cannot be written, before any work is done for it. Raises UsageError."""
    if target is None or target == "-":
        return
    path = Path(target)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{target} cannot be written; give --json another file")


def write_json(target: str, document: Any) -> None:
    """Writes a document as JSON to a file, or to standard output where `target` is "-".

    Raises UsageError where the file cannot be written.
    """
    from unvanish.report import json_document

    text = json_document.dumps(document)
    if target == "-":
        print(text, file=sys.stdout, flush=True)
        return
    try:
        Path(target).write_text(text + "\n", encoding="utf-8")
    except OSError as fault:
        raise UsageError(f"{target} cannot be written ({fault.strerror}); give --json another file") from fault
