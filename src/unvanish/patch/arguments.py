"""The arguments of one call, altered where they stand: one set, one taken out, one added, or all exchanged. Comments stay."""

from __future__ import annotations

from collections.abc import Iterable

import libcst as cst

from unvanish.patch.draft import Draft, Unsayable
from unvanish.patch.source import Source


def span_of_arguments(source: Source, call: cst.Call) -> tuple[int, int]:
    """Where the text between a call's parentheses begins and ends."""
    opening = source.data.index(b"(", source.end(call.func) + _closing(source, call))
    return opening + 1, source.end(call) - 1


def _closing(source: Source, call: cst.Call) -> int:
    """How far the parentheses around what is called reach beyond it."""
    count, at = len(getattr(call.func, "rpar", ())), source.end(call.func)
    end = at
    for _ in range(count):
        end = source.data.index(b")", end) + 1
    return end - at


def exchanged(draft: Draft, source: Source, call: cst.Call, text: str) -> None:
    """Has a call take other arguments. Raises Unsayable where that would lose a comment."""
    start, end = span_of_arguments(source, call)
    present = source.data[start:end].decode()
    if "#" in present and present.strip() != text:
        raise Unsayable(f"line {source.line(call)} has comments among the arguments that would go")
    draft.put(source, start, end, text)


def altered(draft: Draft, source: Source, call: cst.Call, *, drop: Iterable[cst.Arg] = (), add: Iterable[str] = ()) -> None:
    """Has a call lose some arguments and gain others behind its last one, laid out as those that are there."""
    gone = {id(arg) for arg in drop}
    for index, arg in enumerate(call.args):
        if id(arg) not in gone:
            continue
        if index:
            draft.put(source, _end(source, call.args[index - 1]), _end(source, arg), "")
        else:
            after = source.start(call.args[1]) if len(call.args) > 1 else _end(source, arg)
            draft.put(source, source.start(arg), after, "")
    texts = list(add)
    if not texts:
        return
    if not call.args:
        draft.put(source, span_of_arguments(source, call)[0], span_of_arguments(source, call)[0], ", ".join(texts))
        return
    last = call.args[-1]
    indent = source.indentation(source.start(last))
    own_line = indent is not None and len(call.args) > 1
    between = f",{source.ending}{indent}" if own_line else ", "
    end = _end(source, last)
    draft.put(source, end, end, "".join(f"{between}{text}" for text in texts))


def _end(source: Source, arg: cst.Arg) -> int:
    """Where an argument ends, with the parentheses around its value."""
    end = source.end(arg.value)
    for _ in getattr(arg.value, "rpar", ()):
        end = source.data.index(b")", end) + 1
    return end
