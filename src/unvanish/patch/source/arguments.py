"""Adds, removes and replaces the arguments of a call in the source; comments stay."""

from __future__ import annotations

from collections.abc import Iterable

import libcst as cst

from unvanish.patch.source.parsed_file import SourceFile
from unvanish.patch.text_replacements import Draft, NotExpressible


def arguments_span(source: SourceFile, call: cst.Call) -> tuple[int, int]:
    """The byte range between a call's parentheses."""
    opening = source.data.index(b"(", source.end(call.func) + _closing_parentheses(source, call))
    return opening + 1, source.end(call) - 1


def _closing_parentheses(source: SourceFile, call: cst.Call) -> int:
    """The length in bytes of the closing parentheses around the function of a call."""
    end = function_end = source.end(call.func)
    for _ in getattr(call.func, "rpar", ()):
        end = source.data.index(b")", end) + 1
    return end - function_end


def replace_arguments(draft: Draft, source: SourceFile, call: cst.Call, text: str) -> None:
    """Replaces all arguments of a call by a text. Raises NotExpressible where that would lose a comment."""
    start, end = arguments_span(source, call)
    present = source.data[start:end].decode()
    if "#" in present and present.strip() != text:
        raise NotExpressible(f"line {source.line(call)} has comments among the arguments that would go")
    draft.replace(source, start, end, text)


def change_arguments(
    draft: Draft, source: SourceFile, call: cst.Call, *, drop: Iterable[cst.Arg] = (), add: Iterable[str] = ()
) -> None:
    """Removes some arguments of a call and adds others behind its last one, in the layout of those that are there.

    A comment on an argument's own line is removed with it. Raises NotExpressible where another comment would be lost.
    """
    dropped = {id(arg) for arg in drop}
    for index, arg in enumerate(call.args):
        if id(arg) in dropped:
            _remove_argument(draft, source, call, index)
    texts = list(add)
    if not texts:
        return
    kept = [arg for arg in call.args if id(arg) not in dropped]
    if not kept:
        raise NotExpressible(f"line {source.line(call)} would keep no argument to put others behind")
    end = _argument_end(source, kept[-1])
    indent, following = source.indentation(source.start(kept[-1])), source.offset(source.line_at(end) + 1)
    if indent is None or source.end(call) <= following:
        draft.replace(source, end, end, "".join(f", {text}" for text in texts))
        return
    comma = source.data[end:following].lstrip().startswith(b",")
    lines = f",{source.line_ending}".join(f"{indent}{text}" for text in texts)
    draft.replace(source, following, following, f"{lines}{',' if comma else ''}{source.line_ending}")
    if not comma:
        draft.replace(source, end, end, ",")


def _remove_argument(draft: Draft, source: SourceFile, call: cst.Call, index: int) -> None:
    """Removes an argument: its line, where it has one to itself, else the text from the end of the one before it."""
    arg = call.args[index]
    line, last = source.line(arg), source.line_at(source.end(arg))
    rest = source.data[_argument_end(source, arg) : source.offset(last + 1)].decode().strip()
    has_own_lines = source.indentation(source.start(arg)) is not None and (rest in ("", ",") or rest.lstrip(", ").startswith("#"))
    if has_own_lines and source.end(call) > source.offset(last + 1):
        start, end = source.offset(line), source.offset(last + 1)
    elif index:
        start, end = _argument_end(source, call.args[index - 1]), _argument_end(source, arg)
    else:
        start, end = source.start(arg), source.start(call.args[1]) if len(call.args) > 1 else _argument_end(source, arg)
    if not has_own_lines and "#" in source.data[start:end].decode():
        raise NotExpressible(f"line {line} cannot lose an argument without a comment")
    draft.replace(source, start, end, "")


def _argument_end(source: SourceFile, arg: cst.Arg) -> int:
    """The offset at which an argument ends, with the parentheses around its value."""
    end = source.end(arg.value)
    for _ in getattr(arg.value, "rpar", ()):
        end = source.data.index(b")", end) + 1
    return end
