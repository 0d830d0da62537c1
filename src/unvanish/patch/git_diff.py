"""Formats an edit of a text file as a unified diff that `git apply` and `patch -p1` take."""

from __future__ import annotations

import difflib

CONTEXT_LINES = 3  # git's default


def unified_diff(name: str, before: str, after: str) -> str:
    r"""The diff between two states of one file; "" where they are equal.

    Arguments:
        name: path of the file, with slashes, relative to the folder where the diff will be applied.
        before: text of the file before the edit.
        after: text of the file after it.

    Example:
        >>> print(unified_diff("train.py", "lr = 0.1\nsteps = 5\n", "lr = 0.01\nsteps = 5\n"), end="")
        --- a/train.py
        +++ b/train.py
        @@ -1,2 +1,2 @@
        -lr = 0.1
        +lr = 0.01
         steps = 5
    """
    old, new = _split_lines(before), _split_lines(after)
    lines = difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", n=CONTEXT_LINES)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _split_lines(text: str) -> list[str]:
    """The lines as git counts them: other separators than the newline belong to the line."""
    *complete_lines, rest = text.split("\n")
    return [f"{line}\n" for line in complete_lines] + ([rest] if rest else [])
