"""Where in a module's own methods a call stands, read off the frames at the moment of the call. It edits nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import TypeAlias

import torch
from torch import nn

Span: TypeAlias = tuple[int, int]
"""Line and column (from 1 and 0, as the parser counts, in UTF-8 bytes) where a call expression ends: no two calls end alike."""

_FOREIGN = (os.fspath(Path(torch.__file__).parent) + os.sep, os.fspath(Path(__file__).parents[1]) + os.sep)


@dataclass(frozen=True, slots=True)
class CallSite:
    """One call expression. `owner` is the path of the module in whose `method` it stands.

    `spans` leads to it: the call in the method, and where that is a call of a plain function, the call inside that one, and so
    on. `receiver` tells `x.relu()` from `relu(x)`. `files` are those in which the spans are.
    """

    owner: str
    method: str
    spans: tuple[Span, ...]
    receiver: bool
    files: tuple[str, ...]


def call_site(frame: FrameType | None, paths: Mapping[nn.Module, str], *, receiver: bool) -> CallSite | None:
    """The site of the call that is being made below `frame`; None where no method of a module in `paths` makes it."""
    spans: list[Span] = []
    files: list[str] = []
    inner: CodeType | None = None
    for each in _users(frame):
        if not spans or (inner is not None and inner not in _nested(each.f_code)):
            span = _span(each)
            if span is None:
                return None
            spans.insert(0, span)
            files.insert(0, each.f_code.co_filename)
        inner = each.f_code
        owner, method = _owner(each)
        if owner is not None and owner in paths:
            return CallSite(paths[owner], method, tuple(spans), receiver, tuple(files))
    return None


def method_of(kind: type[nn.Module], name: str) -> FunctionType | None:
    """The method of that name as a plain function; None where it is decorated into something else."""
    found = next((vars(each)[name] for each in kind.__mro__ if name in vars(each)), None)
    return found if isinstance(found, FunctionType) else None


def _users(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of the user's code, innermost first; none where a `forward` of torch's own, as of nn.Sequential, calls."""
    seen = False
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_FOREIGN):
            seen = True
            yield frame
        elif not seen and frame.f_code.co_name == "forward" and isinstance(frame.f_locals.get("self"), nn.Module):
            return
        frame = frame.f_back


def _owner(frame: FrameType) -> tuple[nn.Module | None, str]:
    """The module whose method a frame runs, and the method's name as an attribute."""
    code = frame.f_code
    first = frame.f_locals.get(code.co_varnames[0]) if code.co_varnames else None
    if isinstance(first, nn.Module):
        private = [f"_{each.__name__.lstrip('_')}{code.co_name}" for each in type(first).__mro__]
        for name in (code.co_name, *private):
            method = method_of(type(first), name)
            if method is not None and _same(method.__code__, code):
                return first, name
    return None, ""


def _same(one: CodeType, other: CodeType) -> bool:
    """Whether two code objects come from one definition: torch.fx runs a copy of a method that has keyword arguments."""
    return one is other or (one.co_filename, one.co_firstlineno, one.co_name, one.co_code) == (
        other.co_filename,
        other.co_firstlineno,
        other.co_name,
        other.co_code,
    )


def _span(frame: FrameType) -> Span | None:
    for index, (_, line, _, column) in enumerate(frame.f_code.co_positions()):
        if index == frame.f_lasti // 2:
            return None if line is None or column is None else (line, column)
    return None


def _nested(code: CodeType) -> set[CodeType]:
    """The code objects of what is written inside a function: comprehensions, lambdas, inner functions."""
    inside = {each for each in code.co_consts if isinstance(each, CodeType)}
    return inside.union(*map(_nested, inside)) if inside else inside
