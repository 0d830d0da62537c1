"""Why a trial failed, in one line that says what to do: from its exit code, its standard error and its losses. It reads no file."""

from __future__ import annotations

import re
import signal
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROOM = "run fewer trials at once (--jobs 1), or give the script a smaller batch"
LONGEST = 200  # characters of an exception's words
_HEADER = "Traceback (most recent call last):"
# The line of a traceback that names the exception; those of a group stand behind a bar.
_EXCEPTION = re.compile(r"^(?:[ +|]*\| )?(?P<kind>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Cause:
    """Words of an exception, "kind: message", by which a cause is known, and what is said: its name, and what to do."""

    pattern: str
    name: str
    advice: str


CAUSES = (
    Cause(
        r"^[\w.]*MemoryError\b|out of memory|can't allocate memory|Cannot allocate memory"
        r"|ALLOC_FAILED|DataLoader worker .* killed by signal|insufficient shared memory",
        "out of memory",
        ROOM,
    ),
    Cause(
        r"No space left on device|Disk quota exceeded",
        "the disk is full",
        "trials keep their files in the folder that TMPDIR names",
    ),
    Cause(
        r"^EOFError(: EOF when reading a line)?$",
        "asks for input",
        "a trial has none; give the answer as an argument of the script",
    ),
    Cause(r"^(bdb\.)?BdbQuit", "stops at a breakpoint", "take it out, nobody is there to answer in a trial"),
)
# What exceptions say of numbers that are none, whatever raised them; in these kinds the words stand for a name.
_NOT_FINITE = re.compile(
    r"\b(nans?|infs?|infinit[ey]|non-?finite|not finite|diverg\w+|math range error|out of range: numerical)\b", re.IGNORECASE
)
_NAMING = re.compile(r"^(\w+\.)*(FileNotFound|ModuleNotFound|Import|Key|Name|Attribute|Permission)Error")


def failure_line(exit_code: int, errors: str, *, steps: Sequence[int] = (), losses: NDArray[np.float64] | None = None) -> str:
    """Why a process with that exit code failed, in one line, with the exception's own words where it left a traceback.

    `errors` is the end of its standard error; `steps` and `losses` are what it had trained till then.
    """
    words = _exception(errors) if exit_code == 1 else ""
    if words.startswith("unvanish."):
        return f"not applied: {words.partition(': ')[2]}"
    if exit_code == -signal.SIGKILL:
        return f"out of memory, as it seems: killed by SIGKILL, as the system does where memory runs out; {ROOM}"
    if exit_code < 0:
        return f"out of memory: std::bad_alloc; {ROOM}" if "std::bad_alloc" in errors else _killed(-exit_code)
    last = errors.strip().splitlines()[-1:]
    said = words or f"exit code {exit_code}" + "".join(f": {line.strip()}" for line in last)
    for cause in CAUSES:
        if words and re.search(cause.pattern, words):
            return f"{cause.name}: {words}; {cause.advice}"
    where = _not_finite_since(steps, losses)
    if where is not None:
        return f"diverged: the loss is not finite from step {where} on, and the script ended itself ({said})"
    if len(steps) and _NOT_FINITE.search(said) and not _NAMING.match(said):
        return f"diverged: {said}"
    return f"crashed: {words}" if words else f"ended with {said}"


def _exception(errors: str) -> str:
    """The line of the last traceback that names the exception, "" where there is no traceback."""
    _, header, after = errors.rpartition(_HEADER)
    found = _EXCEPTION.search(after) if header else None
    return textwrap.shorten(found[0].lstrip(" +|"), LONGEST, placeholder=" …") if found is not None else ""


def _killed(number: int) -> str:
    names = {each.value: each.name for each in signal.Signals}
    name = names.get(number, f"signal {number}")
    native = name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT")
    return f"crashed in compiled code ({name})" if native else f"killed by {name}"


def _not_finite_since(steps: Sequence[int], losses: NDArray[np.float64] | None) -> int | None:
    """The first step from which on no loss is finite, None where the last one is finite."""
    if losses is None or not len(losses) or np.isfinite(losses[-1]):
        return None
    finite = np.flatnonzero(np.isfinite(losses))
    return int(steps[int(finite[-1]) + 1 if len(finite) else 0])
