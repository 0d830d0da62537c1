"""Finds a program that people name as the shell would find it, such as `torchrun`, where it is written in Python."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from unvanish.errors import ScriptError


def find_script(name: str) -> Path:
    """The file to run: the one of that name, or else the program of that name on PATH.

    Raises ScriptError where the program on PATH is not written in Python, or belongs to another installation of it.

    Example:
        >>> find_script("train.py").name
        'train.py'
    """
    path = Path(name)
    found = None if path.exists() or path.name != name or path.suffix == ".py" else shutil.which(name)
    if found is None:
        return path
    interpreter = _interpreter(Path(found))
    if interpreter is None:
        raise ScriptError(f"{found} is not written in Python, so it cannot be watched; give the Python script that it starts")
    if not _is_this_python(interpreter):
        raise ScriptError(f"{found} belongs to {interpreter}, and unvanish runs in {sys.executable}; install both side by side")
    return Path(found)


def _interpreter(program: Path) -> str | None:
    """The Python that a console script names in its head, "" where it leaves that to PATH; None for any other program."""
    with program.open("rb") as file:
        head = file.read(1024).decode(errors="replace").splitlines()[:2]
    if not head or not head[0].startswith("#!") or "python" not in "".join(head):
        return None
    # Where the path of the interpreter is long or has spaces, the second line names it: '''exec' "/path/python" "$0" "$@"
    line = head[0].removeprefix("#!").strip() if "python" in head[0] else head[1].removeprefix("'''exec'").strip()
    words = line.replace('"', "").split()
    return "" if words[0].endswith("env") else words[0]


def _is_this_python(interpreter: str) -> bool:
    return not interpreter or Path(interpreter).resolve() == Path(sys.executable).resolve()
