"""Classifies why a trial failed, in one line that says what to do: from its exit code, its standard error and its losses."""

from __future__ import annotations

import re
import signal
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MEMORY_ADVICE = "run fewer trials at once (--jobs 1), or give the script a smaller batch"
MAX_MESSAGE = 200  # characters of an exception's message
_TRACEBACK_HEADER = "Traceback (most recent call last):"
# The line of a traceback that names the exception; those of a group stand behind a bar.
_EXCEPTION = re.compile(r"^(?:[ +|]*\| )?(?P<kind>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Cause:
    """A cause of failure: the pattern of exceptions, "kind: message", by which it is recognised, its name, and what to do."""

    pattern: str
    name: str
    advice: str


CAUSES = (
    Cause(
        r"^[\w.]*MemoryError\b|out of memory|can't allocate memory|Cannot allocate memory"
        r"|ALLOC_FAILED|DataLoader worker .* killed by signal|insufficient shared memory",
        "out of memory",
        MEMORY_ADVICE,
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
# Words of exceptions about values that are not finite; in the kinds of `_NAMING` they are parts of a name instead.
_NOT_FINITE = re.compile(
    r"\b(nans?|infs?|infinit[ey]|non-?finite|not finite|diverg\w+|math range error|out of range: numerical)\b", re.IGNORECASE
)
_NAMING = re.compile(r"^(\w+\.)*(FileNotFound|ModuleNotFound|Import|Key|Name|Attribute|Permission)Error")


def failure_line(exit_code: int, errors: str, *, steps: Sequence[int] = (), losses: NDArray[np.float64] | None = None) -> str:
    """Why a process failed, in one line, with the exception's own message where it left a traceback.

    Arguments:
        exit_code: of the process, negative for a signal, not 0.
        errors: the last part of its standard error.
        steps: the training steps whose losses are known.
        losses: the losses of these steps, the same length.

    Example:
        >>> failure_line(1, "Traceback (most recent call last):\\n  ...\\nValueError: bad shape")
        'crashed: ValueError: bad shape'
        >>> failure_line(-15, "")
        'killed by SIGTERM'
    """
    exception = _last_exception(errors) if exit_code == 1 else ""
    if exception.startswith("unvanish."):
        return f"not applied: {exception.partition(': ')[2]}"
    if exit_code == -signal.SIGKILL:
        return f"out of memory, as it seems: killed by SIGKILL, as the system does where memory runs out; {MEMORY_ADVICE}"
    if exit_code < 0:
        return f"out of memory: std::bad_alloc; {MEMORY_ADVICE}" if "std::bad_alloc" in errors else _describe_signal(-exit_code)
    last_line = errors.strip().splitlines()[-1:]
    message = exception or f"exit code {exit_code}" + "".join(f": {line.strip()}" for line in last_line)
    for cause in CAUSES:
        if exception and re.search(cause.pattern, exception):
            return f"{cause.name}: {exception}; {cause.advice}"
    step = _not_finite_since(steps, losses)
    if step is not None:
        return f"diverged: the loss is not finite from step {step} on, and the script ended itself ({message})"
    if len(steps) and _NOT_FINITE.search(message) and not _NAMING.match(message):
        return f"diverged: {message}"
    return f"crashed: {exception}" if exception else f"ended with {message}"


def _last_exception(errors: str) -> str:
    """The line of the last traceback that names the exception, "" where there is no traceback."""
    _, header, after = errors.rpartition(_TRACEBACK_HEADER)
    match = _EXCEPTION.search(after) if header else None
    return textwrap.shorten(match[0].lstrip(" +|"), MAX_MESSAGE, placeholder=" …") if match is not None else ""


def _describe_signal(number: int) -> str:
    names = {known.value: known.name for known in signal.Signals}
    name = names.get(number, f"signal {number}")
    is_native_crash = name in ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT")
    return f"crashed in compiled code ({name})" if is_native_crash else f"killed by {name}"


def _not_finite_since(steps: Sequence[int], losses: NDArray[np.float64] | None) -> int | None:
    """The first step from which on no loss is finite, None where the last one is finite."""
    if losses is None or not len(losses) or np.isfinite(losses[-1]):
        return None
    finite = np.flatnonzero(np.isfinite(losses))
    return int(steps[int(finite[-1]) + 1 if len(finite) else 0])
