"""Ends a process group and removes a folder when this process dies without doing so itself."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path
from typing import final

# It waits in the background, so that whoever kills the children of the process that died does not find it among them.
_WAIT_AND_END = 'exec 3<&0; { read -r line <&3 || { kill -s KILL -- "-$1"; rm -rf -- "$2"; } ; } & exit 0'


@final
class ProcessGuard:
    """A shell that waits for the end of this process, which closes the pipe between them.

    Arguments:
        process_group: the id of the process group to end.
        folder: the folder to remove.
    """

    def __init__(self, process_group: int, folder: Path) -> None:
        """Starts the shell."""
        command = ["/bin/sh", "-c", _WAIT_AND_END, "sh", str(process_group), str(folder)]
        quiet = subprocess.DEVNULL
        self._shell = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True)
        self._shell.wait()

    def dismiss(self) -> None:
        """Ends the guard, once there is nothing left to end."""
        if self._shell.stdin is not None and not self._shell.stdin.closed:
            with suppress(BrokenPipeError):
                self._shell.stdin.write(b"\n")
                self._shell.stdin.close()
