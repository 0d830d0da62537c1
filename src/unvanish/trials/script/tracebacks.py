"""Prints the exception that ended the user's script as Python would, without the frames of this package."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from unvanish.standard_error import write_to_stderr

_PACKAGE = str(Path(__file__).resolve().parents[2]) + os.sep
_OBSERVE = _PACKAGE + "observe" + os.sep
# Frames between the user's call and torch: an exception that ends in one was raised by compiled code that it calls, not by ours.
_MONKEY_PATCH_FILE = _PACKAGE + "monkey_patch.py"
_WRAPPERS = frozenset({"__torch_function__", "_call_backward", "_init_module", "_init_optimizer", "_scale_loss"})
_EXAMPLES = _PACKAGE + "examples" + os.sep  # in an installed copy the example scripts lie inside the package, and are scripts


def print_exception(fault: BaseException, *, quote_edits: bool) -> SystemExit | None:
    """The SystemExit that the script's own `sys.excepthook` raised, if any, after the traceback was printed through that hook.

    With `quote_edits`, lines are quoted from the edited source that ran; Python's own printer reads the files on disk.
    """
    flush_output()
    for exception in _linked_exceptions(fault):
        exception.__traceback__ = strip_own_frames(exception.__traceback__)
    sys.last_type, sys.last_value, sys.last_traceback = type(fault), fault, fault.__traceback__
    hook = sys.excepthook
    if quote_edits and hook is sys.__excepthook__:
        traceback.print_exception(fault)
        return None
    try:
        hook(type(fault), fault, fault.__traceback__)
    except SystemExit as exit_request:
        return exit_request
    except BaseException as second:
        second.__traceback__ = strip_own_frames(second.__traceback__)
        write_to_stderr("Error in sys.excepthook:\n")
        sys.__excepthook__(type(second), second, second.__traceback__)
        write_to_stderr("\nOriginal exception was:\n")
        sys.__excepthook__(type(fault), fault, fault.__traceback__)
    return None


def strip_own_frames(head: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames of this package, except those after the last foreign one: a fault of ours shows there."""
    entries = [entry for entry in _entries(head) if not _is_wrapper(entry)]
    foreign = [entry for entry in entries if not _is_own(entry)]
    kept = foreign + entries[entries.index(foreign[-1]) + 1 :] if foreign else []
    head = None
    for entry in reversed(kept):
        entry.tb_next = head
        head = entry
    return head


def flush_output() -> None:
    """Flushes standard output and error; a stream that cannot be flushed is left for the interpreter to report at exit."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:  # pyright: ignore[reportUnnecessaryComparison]
            try:
                stream.flush()
            except (OSError, ValueError):
                continue


def _is_own(entry: TracebackType) -> bool:
    file = entry.tb_frame.f_code.co_filename
    return file.startswith(_PACKAGE) and not file.startswith(_EXAMPLES)


def _is_wrapper(entry: TracebackType) -> bool:
    code = entry.tb_frame.f_code
    return code.co_filename.startswith(_MONKEY_PATCH_FILE) or (code.co_name in _WRAPPERS and code.co_filename.startswith(_OBSERVE))


def _entries(head: TracebackType | None) -> Iterator[TracebackType]:
    while head is not None:
        yield head
        head = head.tb_next


def _linked_exceptions(fault: BaseException) -> Iterator[BaseException]:
    """The exception, its causes and contexts, and the members of groups, each once."""
    visited: set[int] = set()
    pending = [fault]
    while pending:
        exception = pending.pop()
        if id(exception) in visited:
            continue
        visited.add(id(exception))
        yield exception
        pending += [related for related in (exception.__cause__, exception.__context__) if related is not None]
        if isinstance(exception, BaseExceptionGroup):
            pending += exception.exceptions
