"""An edit as a unified diff that `git apply` and `patch -p1` take. It reads and writes no file."""

from __future__ import annotations

import difflib

CONTEXT_LINES = 3  # as git has


def unified(name: str, before: str, after: str) -> str:
    """The diff between two states of the file `name`, a path with slashes relative to where it will be applied; "" for none."""
    old, new = _lines(before), _lines(after)
    lines = difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", n=CONTEXT_LINES)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _lines(text: str) -> list[str]:
    """The lines as git counts them: other separators than the newline belong to the line."""
    *whole, rest = text.split("\n")
    return [f"{line}\n" for line in whole] + ([rest] if rest else [])
