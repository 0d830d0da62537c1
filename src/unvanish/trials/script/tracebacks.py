"""Shows the exception that ended the user's script as Python would, without our frames. It decides nothing about the end."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

_PACKAGE = str(Path(__file__).resolve().parents[2]) + os.sep
_OBSERVE = _PACKAGE + "observe" + os.sep
# Functions of the observer that stand around a callable of torch's and hand its exceptions on: what ends in one is never ours.
_PASSING = frozenset({"__torch_function__", "backward", "init", "scale"})
_EXAMPLES = _PACKAGE + "examples" + os.sep  # in an installed copy the example scripts lie inside the package, and are scripts


def show(fault: BaseException, *, quote_edits: bool) -> SystemExit | None:
    """Prints the traceback through `sys.excepthook`. What comes back is the exit that the script's own hook asked for, if any.

    With `quote_edits`, lines are quoted from the edited source that ran: the interpreter's own printer reads the disk.
    """
    flush()
    for link in _chain(fault):
        link.__traceback__ = users_part(link.__traceback__)
    sys.last_type, sys.last_value, sys.last_traceback = type(fault), fault, fault.__traceback__
    hook = sys.excepthook
    if quote_edits and hook is sys.__excepthook__:
        traceback.print_exception(fault)
        return None
    try:
        hook(type(fault), fault, fault.__traceback__)
    except SystemExit as wish:
        return wish
    except BaseException as second:
        second.__traceback__ = users_part(second.__traceback__)
        print("Error in sys.excepthook:", file=sys.stderr)
        sys.__excepthook__(type(second), second, second.__traceback__)
        print("\nOriginal exception was:", file=sys.stderr)
        sys.__excepthook__(type(fault), fault, fault.__traceback__)
    return None


def users_part(head: TracebackType | None) -> TracebackType | None:
    """The traceback without our frames, save those after the last of the user's: there a fault of ours would show."""
    links = [link for link in _links(head) if not _passes_on(link)]
    users = [link for link in links if not _is_ours(link)]
    kept = users + links[links.index(users[-1]) + 1 :] if users else []
    head = None
    for link in reversed(kept):
        link.tb_next = head
        head = link
    return head


def flush() -> None:
    """Empties the buffers of standard output and error; what cannot be flushed is left for the interpreter to report at exit."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:  # pyright: ignore[reportUnnecessaryComparison]
            try:
                stream.flush()
            except (OSError, ValueError):
                continue


def _is_ours(link: TracebackType) -> bool:
    file = link.tb_frame.f_code.co_filename
    return file.startswith(_PACKAGE) and not file.startswith(_EXAMPLES)


def _passes_on(link: TracebackType) -> bool:
    code = link.tb_frame.f_code
    return code.co_name in _PASSING and code.co_filename.startswith(_OBSERVE)


def _links(head: TracebackType | None) -> Iterator[TracebackType]:
    while head is not None:
        yield head
        head = head.tb_next


def _chain(fault: BaseException) -> Iterator[BaseException]:
    """The exception, its causes and contexts, and the members of groups, each once."""
    seen: set[int] = set()
    waiting = [fault]
    while waiting:
        link = waiting.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [related for related in (link.__cause__, link.__context__) if related is not None]
        if isinstance(link, BaseExceptionGroup):
            waiting += link.exceptions
