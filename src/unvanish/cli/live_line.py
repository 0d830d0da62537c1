"""The status line at the foot of the terminal, rewritten on standard error while a script runs."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unvanish.observe import Progress


class LiveLine:
    """The status line. The script's output scrolls above it, in a scroll region of its own, as in a package manager's progress."""

    def __init__(self) -> None:
        self._rows, self._stream = 0, sys.stderr  # which the script may replace later

    def close(self) -> None:
        """Clears the line and gives its row back to the script's output."""
        if self._rows:
            self._write(f"\x1b7\x1b[r\x1b[{self._rows};1H\x1b[2K\x1b8")
            self._rows = 0

    def show(self, progress: Progress, health: str) -> None:
        """Rewrites the line; `health` is the code of the leading finding, or ""."""
        from rich.console import Console

        from unvanish.report.terminal.run_report import render_live_line

        size = shutil.get_terminal_size()
        if size.lines != self._rows:
            # A line feed first, so that the last row is free; then the scroll region without it.
            self._write(f"\n\x1b[1A\x1b7\x1b[1;{size.lines - 1}r\x1b8")
            self._rows = size.lines
        line = render_live_line(progress.step, progress.loss, health=health, own_share=progress.own_share, width=size.columns - 1)
        console = Console(file=self._stream, highlight=False, width=size.columns)
        with console.capture() as captured:
            console.print(line, end="")
        self._write(f"\x1b7\x1b[{self._rows};1H\x1b[2K{captured.get()}\x1b8")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
