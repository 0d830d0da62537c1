"""Runs a command as a person would, with a home folder and a time limit of its own, and sees what it leaves running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

GRACE_S = 3.0
"""What a command has started may end so much later than itself."""
SYSTEM_FOLDERS = ("/usr/local/bin", "/usr/bin", "/bin")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. `code` is None where the time limit did."""

    code: int | None
    output: str
    errors: str
    seconds: float
    left_running: int


def environment(home: Path, commands: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The variables of a person's shell: `commands` and this interpreter first on the path, one thread, a home of its own."""
    scratch = home.with_name(f"{home.name}-tmp")
    scratch.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join((str(commands), str(Path(sys.executable).parent), *SYSTEM_FOLDERS))
    fixed = {"PATH": path, "HOME": str(home), "TMPDIR": str(scratch), "LANG": "C.UTF-8", "USER": "user", "OMP_NUM_THREADS": "1"}
    return {**fixed, **extra}


def run_command(command: tuple[str, ...], folder: Path, *, variables: Mapping[str, str], limit_s: float) -> Ended:
    """How the command ended in the folder; at the time limit its whole session is killed."""
    logs = folder.with_name(f"{folder.name}-logs-{time.monotonic_ns()}")
    logs.mkdir()
    begun = time.monotonic()
    with (logs / "stdout").open("w+b") as output, (logs / "stderr").open("w+b") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=dict(variables), stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True
        )
        try:
            code: int | None = process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            code = None
        seconds = time.monotonic() - begun
        left = end_session(process.pid, grace_s=GRACE_S if code is not None else 0.0)
        process.wait()
    texts = ((logs / name).read_text(encoding="utf-8", errors="replace") for name in ("stdout", "stderr"))
    return Ended(code, *texts, seconds, left)


def end_session(leader: int, *, grace_s: float) -> int:
    """Kills what still runs in a session, and says how many processes that were; those that end within the grace do not count."""
    until = time.monotonic() + grace_s
    while (members := session_members(leader)) and time.monotonic() < until:
        time.sleep(0.1)
    for member in members:
        try:
            os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return len(members)


def session_members(leader: int) -> list[int]:
    """The processes of a session that have not ended."""
    members: list[int] = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getsid(process.pid) == leader and process.info["status"] != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
        except (ProcessLookupError, PermissionError):
            continue
    return members
