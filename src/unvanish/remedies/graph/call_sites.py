"""Finds the source position of a call inside a module's methods, from the stack frames at the time of the call."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import TypeAlias

import torch
from torch import nn

CallEnd: TypeAlias = tuple[int, int]
"""Line (from 1) and column (from 0, in UTF-8 bytes, as `ast` counts) where a call expression ends. It identifies the call."""

_NON_USER_DIRECTORIES = (os.fspath(Path(torch.__file__).parent) + os.sep, os.fspath(Path(__file__).parents[1]) + os.sep)


@dataclass(frozen=True, slots=True)
class CallSite:
    """One call expression in the source of a module's method.

    Arguments:
        owner: path of the module whose method contains the call.
        method: name of that method.
        ends: where the call ends; for a call inside a plain function, first the call of that function in the method, then the
            call inside it, and so on.
        is_method_call: True for `x.relu()`, False for `relu(x)`.
        files: the source file of each of `ends`.
    """

    owner: str
    method: str
    ends: tuple[CallEnd, ...]
    is_method_call: bool
    files: tuple[str, ...]


def find_call_site(frame: FrameType | None, paths: Mapping[nn.Module, str], *, is_method_call: bool) -> CallSite | None:
    """The site of the call that is running in `frame` or below; None where no method of a module in `paths` made it."""
    ends: list[CallEnd] = []
    files: list[str] = []
    inner: CodeType | None = None
    for user_frame in _user_frames(frame):
        if not ends or (inner is not None and inner not in _nested_code(user_frame.f_code)):
            end = _call_end(user_frame)
            if end is None:
                return None
            ends.insert(0, end)
            files.insert(0, user_frame.f_code.co_filename)
        inner = user_frame.f_code
        owner, method = _module_and_method(user_frame)
        if owner is not None and owner in paths:
            return CallSite(paths[owner], method, tuple(ends), is_method_call, tuple(files))
    return None


def find_method(kind: type[nn.Module], name: str) -> FunctionType | None:
    """The method of that name as a plain function; None where a decorator made it something else."""
    method = next((vars(parent)[name] for parent in kind.__mro__ if name in vars(parent)), None)
    return method if isinstance(method, FunctionType) else None


def _user_frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of the user's code, innermost first; none where the caller is a `forward` of torch, as that of nn.Sequential."""
    has_user_frame = False
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_NON_USER_DIRECTORIES):
            has_user_frame = True
            yield frame
        elif not has_user_frame and frame.f_code.co_name == "forward" and isinstance(frame.f_locals.get("self"), nn.Module):
            return
        frame = frame.f_back


def _module_and_method(frame: FrameType) -> tuple[nn.Module | None, str]:
    """The module whose method a frame runs, and the name under which its class has the method."""
    code = frame.f_code
    instance = frame.f_locals.get(code.co_varnames[0]) if code.co_varnames else None
    if isinstance(instance, nn.Module):
        private_names = [f"_{parent.__name__.lstrip('_')}{code.co_name}" for parent in type(instance).__mro__]
        for name in (code.co_name, *private_names):
            method = find_method(type(instance), name)
            if method is not None and _is_same_code(method.__code__, code):
                return instance, name
    return None, ""


def _is_same_code(first: CodeType, second: CodeType) -> bool:
    """Whether two code objects come from one definition: torch.fx runs a copy of a method that has keyword arguments."""
    return first is second or (first.co_filename, first.co_firstlineno, first.co_name, first.co_code) == (
        second.co_filename,
        second.co_firstlineno,
        second.co_name,
        second.co_code,
    )


def _call_end(frame: FrameType) -> CallEnd | None:
    for index, (_, line, _, column) in enumerate(frame.f_code.co_positions()):
        if index == frame.f_lasti // 2:
            return None if line is None or column is None else (line, column)
    return None


def _nested_code(code: CodeType) -> set[CodeType]:
    """The code objects of the comprehensions, lambdas and functions that are defined inside a function, at any depth."""
    nested = {constant for constant in code.co_consts if isinstance(constant, CodeType)}
    return nested.union(*map(_nested_code, nested)) if nested else nested
