"""Where output goes: standard error for people, a file or standard output for JSON; the script's own output is not touched."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unvanish.errors import UsageError
from unvanish.standard_error import is_terminal, write_to_stderr

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def terminal() -> Console:
    """Standard error as a rich console: plain text where it is not a terminal."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def show(*parts: RenderableType) -> None:
    """Prints the parts one below the other on standard error; where that cannot be written to, nothing happens.

    A rich console itself ends the process where standard error is a pipe that nobody reads.
    """
    from rich.console import Console

    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    page = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace", newline="")
    console = Console(file=page, highlight=False, force_terminal=is_terminal() or None)
    for part in parts:
        console.print(part)
    page.seek(0)
    write_to_stderr(page.read())


def require_writable(target: str | None) -> None:
    """Refuses a file that cannot be written, before any work is done for it. Raises UsageError."""
    if target is None or target == "-":
        return
    path = Path(target)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"{target} cannot be written; give --json another file")


def write_json(target: str, document: Any) -> None:
    """Writes a document as JSON to a file, or to standard output where `target` is "-".

    A file that is there already is replaced by the whole document or stays as it is.

    Raises UsageError where it cannot be written.
    """
    from unvanish.report import json_document

    text = json_document.dumps(document) + "\n"
    try:
        if target == "-":
            _write_to_stdout(text)
        else:
            _write_file(Path(target), text)
    except (OSError, ValueError) as fault:
        place = "standard output" if target == "-" else target
        reason = fault.strerror if isinstance(fault, OSError) else fault
        raise UsageError(f"{place} cannot be written ({reason}); give --json another file") from fault


def _write_file(path: Path, text: str) -> None:
    target = path.resolve()
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    if (target.exists() and not target.is_file()) or not os.access(target.parent, os.W_OK):
        path.write_text(text, encoding="utf-8")  # a device or a pipe, or a file in a folder that takes no other
        return
    try:
        draft.write_text(text, encoding="utf-8")
        if target.exists():
            draft.chmod(target.stat().st_mode)
        draft.replace(target)
    finally:
        with suppress(OSError):
            draft.unlink()


def _write_to_stdout(text: str) -> None:
    """Writes a text behind what the script has printed. Where that fails, Python is kept from trying the same text at its end."""
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise ValueError("it is closed")
    sys.stdout.flush()
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
