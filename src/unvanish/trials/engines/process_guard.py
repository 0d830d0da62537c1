"""Ends what a process would leave behind when it dies without notice: a process group and a folder. Before that it only waits."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path
from typing import final

# It waits in the background, so that whoever kills the children of the process that died does not find it among them.
_WATCH = 'exec 3<&0; { read -r line <&3 || { kill -s KILL -- "-$1"; rm -rf -- "$2"; } ; } & exit 0'


@final
class Guard:
    """A shell that waits for the end of this process, with which the pipe ends that leads to it."""

    def __init__(self, group: int, folder: Path) -> None:
        """Sets the guard over a process group and a folder."""
        command = ["/bin/sh", "-c", _WATCH, "sh", str(group), str(folder)]
        quiet = subprocess.DEVNULL
        self._shell = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True)
        self._shell.wait()

    def dismiss(self) -> None:
        """Has the guard go, since there is nothing left to end."""
        if self._shell.stdin is not None and not self._shell.stdin.closed:
            with suppress(BrokenPipeError):
                self._shell.stdin.write(b"\n")
                self._shell.stdin.close()
