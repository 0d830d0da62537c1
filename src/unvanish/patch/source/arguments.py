"""The arguments of one call, altered where they stand: one set, one taken out, one added, or all exchanged. Comments stay."""

from __future__ import annotations

from collections.abc import Iterable

import libcst as cst

from unvanish.patch.draft import Draft, Unsayable
from unvanish.patch.source.parsed_file import Source


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
    """Has a call lose some arguments and gain others behind its last one, laid out as those that are there.

    A comment on an argument's own line goes with it. Raises Unsayable where another one would be lost.
    """
    gone = {id(arg) for arg in drop}
    for index, arg in enumerate(call.args):
        if id(arg) in gone:
            _drop(draft, source, call, index)
    texts = list(add)
    if not texts:
        return
    kept = [arg for arg in call.args if id(arg) not in gone]
    if not kept:
        raise Unsayable(f"line {source.line(call)} would keep no argument to put others behind")
    end = _end(source, kept[-1])
    indent, following = source.indentation(source.start(kept[-1])), source.offset(source.line_at(end) + 1)
    if indent is None or source.end(call) <= following:
        draft.put(source, end, end, "".join(f", {text}" for text in texts))
        return
    comma = source.data[end:following].lstrip().startswith(b",")
    lines = f",{source.ending}".join(f"{indent}{text}" for text in texts)
    draft.put(source, following, following, f"{lines}{',' if comma else ''}{source.ending}")
    if not comma:
        draft.put(source, end, end, ",")


def _drop(draft: Draft, source: Source, call: cst.Call, index: int) -> None:
    """Takes an argument out: its line, where it has one to itself, or else the piece from the end of the one before it."""
    arg = call.args[index]
    line, last = source.line(arg), source.line_at(source.end(arg))
    rest = source.data[_end(source, arg) : source.offset(last + 1)].decode().strip()
    alone = source.indentation(source.start(arg)) is not None and (rest in ("", ",") or rest.lstrip(", ").startswith("#"))
    if alone and source.end(call) > source.offset(last + 1):
        start, end = source.offset(line), source.offset(last + 1)
    elif index:
        start, end = _end(source, call.args[index - 1]), _end(source, arg)
    else:
        start, end = source.start(arg), source.start(call.args[1]) if len(call.args) > 1 else _end(source, arg)
    if not alone and "#" in source.data[start:end].decode():
        raise Unsayable(f"line {line} cannot lose an argument without a comment")
    draft.put(source, start, end, "")


def _end(source: Source, arg: cst.Arg) -> int:
    """Where an argument ends, with the parentheses around its value."""
    end = source.end(arg.value)
    for _ in getattr(arg.value, "rpar", ()):
        end = source.data.index(b")", end) + 1
    return end
