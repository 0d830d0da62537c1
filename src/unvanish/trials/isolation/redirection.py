"""Sends what a trial's script writes to absolute paths into its mirror, and lets it read from there what it wrote.

The functions of Python that take paths are wrapped. A path is exchanged for the one in the mirror where something is written, or
where the mirror already has an entry of its own; everything else is read where it is."""

from __future__ import annotations

import builtins
import io
import os
import shutil
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from sqlite3 import dbapi2
from typing import Any, final

from unvanish.import_hooks import when_imported
from unvanish.monkey_patch import CallablePatch
from unvanish.trials.isolation.mirror import Mirror, TooLarge

WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_READERS = ("stat", "lstat", "access", "listdir", "scandir", "readlink", "statvfs", "getxattr", "listxattr")
_WRITERS = ("mkdir", "chmod", "chown", "lchown", "utime", "truncate", "mkfifo", "mknod", "chdir", "setxattr", "removexattr")
_REMOVERS = ("remove", "unlink", "rmdir")
_MOVERS = ("rename", "replace")
_WRAPPED = (*_READERS, *_WRITERS, *_REMOVERS, *_MOVERS, "open", "link", "symlink")
_CAPABILITIES = (os.supports_dir_fd, os.supports_fd, os.supports_effective_ids, os.supports_follow_symlinks)


@dataclass(frozen=True, slots=True)
class PathArgument:
    """An argument of a function that is a path: its position and name, and whether the function writes there."""

    position: int
    name: str
    is_write: bool = True


# Functions that read or write in C++ or Rust: the module to wait for, the module that holds it, its name there, and its path.
FOREIGN_FUNCTIONS = (
    ("torch", "torch", "save", PathArgument(1, "f")),
    ("torch", "torch", "load", PathArgument(0, "f", is_write=False)),
    ("torch", "torch.jit", "save", PathArgument(1, "f")),
    ("torch", "torch.jit", "load", PathArgument(0, "f", is_write=False)),
    ("safetensors", "safetensors", "safe_open", PathArgument(0, "filename", is_write=False)),
    ("safetensors.torch", "safetensors.torch", "save_file", PathArgument(1, "filename")),
    ("safetensors.torch", "safetensors.torch", "load_file", PathArgument(0, "filename", is_write=False)),
    ("safetensors.numpy", "safetensors.numpy", "save_file", PathArgument(1, "filename")),
    ("cv2", "cv2", "imwrite", PathArgument(0, "filename")),
    ("cv2", "cv2", "imread", PathArgument(0, "filename", is_write=False)),
)


@final
class Redirection:
    """Where a script's paths lead. Owner of the paths that it has removed.

    Arguments:
        mirror: the mirror in which the script runs.
        writable: folders in which everything may be written as it is.
    """

    def __init__(self, mirror: Mirror, writable: Sequence[Path]) -> None:
        self._mirror, self._writable = mirror, tuple(f"{folder}{os.sep}" for folder in writable)
        self._removed: set[Path] = set()

    def target(self, path: Any, *, is_write: bool, removes: bool = False) -> Any:
        """The path to use in place of one that the script gave; the same where it may be used, or is none."""
        if isinstance(path, int) or path is None or self._mirror.is_updating:
            return path
        with self._mirror.updating():
            absolute = self._absolute(path)
            if absolute is None or self._mirror.contains(absolute):
                return path
            mirrored = self._write_target(absolute) if is_write else self._read_target(absolute)
            if removes:
                self._removed.add(absolute)
        if mirrored is None:
            return path
        return os.fsencode(mirrored) if isinstance(path, bytes) else str(mirrored)

    def folder(self, path: Any) -> Any:
        """The path to use in place of that of a folder which is opened, since files may be written through its descriptor."""
        if isinstance(path, int) or path is None or self._mirror.is_updating:
            return path
        with self._mirror.updating(), suppress(TooLarge, OSError):
            absolute = self._absolute(path)
            return path if absolute is None else str(self._mirror.own_folder(self._mirror.to_mirror(absolute)))
        return path

    def _absolute(self, path: Any) -> Path | None:
        """The absolute path; None where it may be used as it is, or is an object that is read from or written to."""
        try:
            absolute = Path(os.fsdecode(path))
            absolute = absolute if absolute.is_absolute() else Path.cwd() / absolute
        except (TypeError, OSError):  # no path, or in a folder that is gone
            return None
        is_free = str(absolute) == os.sep or f"{absolute}{os.sep}".startswith(self._writable)
        return None if is_free and not self._mirror.contains(absolute) else absolute

    def _write_target(self, path: Path) -> Path | None:
        """Where to write what belongs to an absolute path, whose folder is made real in the mirror; None: it cannot be there."""
        mirrored = self._mirror.to_mirror(path)
        try:
            self._mirror.entry(mirrored)
        except TooLarge:
            return self._mirror.own_loose(path)
        except OSError:
            return None
        return mirrored

    def _read_target(self, path: Path) -> Path | None:
        """Where the mirror has an entry of its own for an absolute path, or had one until it was removed; otherwise None."""
        mirrored, loose = self._mirror.to_mirror(path), self._mirror.loose(path)
        if os.path.lexists(loose):
            return loose
        if not self._mirror.is_real(mirrored.parent):
            return None
        try:
            mode = os.lstat(mirrored).st_mode
        except OSError:
            return mirrored if path in self._removed or not os.path.lexists(path) else None
        link = mirrored.readlink() if stat.S_ISLNK(mode) else None
        leads_outside = link is not None and link.is_absolute() and not self._mirror.contains(link)
        return None if leads_outside else mirrored


@contextmanager
def redirecting(redirection: Redirection) -> Generator[None]:
    """A context in which Python's functions on paths follow a redirection."""
    with ExitStack() as installed:
        for patch in _patches(redirection):
            installed.enter_context(patch)
        for capability in _CAPABILITIES:  # sets of functions, in which the wrapped ones are looked up
            wrapped = {vars(os)[name] for name in _WRAPPED if name in vars(os)}
            added = {each for each in wrapped if getattr(each, "__wrapped__", None) in capability}
            capability |= added
            installed.callback(capability.difference_update, added)
        for awaited, module, name, argument in FOREIGN_FUNCTIONS:
            _wrap_when_imported(installed, redirection, awaited, module, name, argument)
        yield


def is_write_mode(mode: str) -> bool:
    """Whether `open` writes to a file in this mode.

    Example:
        >>> is_write_mode("rb"), is_write_mode("r+")
        (False, True)
    """
    return not {"w", "a", "x", "+"}.isdisjoint(mode)


def _patches(redirection: Redirection) -> list[CallablePatch]:
    def opens(original: Callable[..., Any], file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        return original(redirection.target(file, is_write=is_write_mode(mode)), mode, *args, **options)

    def opens_descriptor(original: Callable[..., Any], path: Any, flags: int, *args: Any, **options: Any) -> Any:
        if _is_in_opened_folder(path, options):
            return original(path, flags, *args, **options)
        if not flags & WRITE_FLAGS and Path(os.fsdecode(path)).is_dir():
            return original(redirection.folder(path), flags, *args, **options)
        return original(redirection.target(path, is_write=bool(flags & WRITE_FLAGS)), flags, *args, **options)

    def connects(original: Callable[..., Any], database: Any, *args: Any, **options: Any) -> Any:
        return original(_database_target(redirection, database), *args, **options)

    path, source, destination = PathArgument(0, "path"), PathArgument(0, "src"), PathArgument(1, "dst")
    wrappers = {
        **dict.fromkeys(_READERS, _wrapper(redirection, (PathArgument(0, "path", is_write=False),))),
        **dict.fromkeys(_WRITERS, _wrapper(redirection, (path,))),
        **dict.fromkeys(_REMOVERS, _wrapper(redirection, (path,), removes=True)),
        **dict.fromkeys(_MOVERS, _wrapper(redirection, (source, destination), removes=True)),
        "link": _wrapper(redirection, (source, destination)),
        "symlink": _wrapper(redirection, (destination,)),
        "open": opens_descriptor,
    }
    folder = PathArgument(0, "dir")  # of a temporary file, which is removed by a function that was kept before
    return [
        CallablePatch(shutil, "rmtree", _wrapper(redirection, (path,), removes=True)),
        CallablePatch(tempfile, "_mkstemp_inner", _wrapper(redirection, (folder,))),
        CallablePatch(builtins, "open", opens, aliases=(io,)),
        CallablePatch(sqlite3, "connect", connects, aliases=(dbapi2,)),
        *(CallablePatch(os, name, wrapper) for name, wrapper in wrappers.items() if name in vars(os)),
    ]


def _wrapper(redirection: Redirection, arguments: Sequence[PathArgument], *, removes: bool = False) -> Callable[..., Any]:
    """A wrapper for `CallablePatch` that redirects the arguments of a call; with `removes`, the first one is gone afterwards."""

    def call(original: Callable[..., Any], *args: Any, **options: Any) -> Any:
        values, named = list(args), dict(options)
        for index, argument in enumerate(arguments):
            holder: Any = values if argument.position < len(values) else named
            key: Any = argument.position if holder is values else argument.name
            is_given = holder is values or argument.name in named
            if is_given and not _is_in_opened_folder(holder[key], options):
                holder[key] = redirection.target(holder[key], is_write=argument.is_write, removes=removes and not index)
        return original(*values, **named)

    return call


def _is_in_opened_folder(path: Any, options: Mapping[str, Any]) -> bool:
    """Whether a path is relative to a folder's descriptor; that folder was redirected when it was opened."""
    is_relative = isinstance(path, str | bytes | os.PathLike) and not os.fsdecode(path).startswith(os.sep)
    return is_relative and any(options.get(name) is not None for name in ("dir_fd", "src_dir_fd", "dst_dir_fd"))


def _database_target(redirection: Redirection, database: Any) -> Any:
    """A database's name, which may be a path, an address that begins with "file:", or that of one in memory."""
    if database in (":memory:", ""):
        return database
    if isinstance(database, str) and database.startswith("file:"):
        path, mark, options = database.removeprefix("file:").partition("?")
        is_file = path.startswith(os.sep) and "mode=memory" not in options
        return f"file:{redirection.target(path, is_write=True)}{mark}{options}" if is_file else database
    return redirection.target(database, is_write=True)


def _wrap_when_imported(
    installed: ExitStack, redirection: Redirection, awaited: str, module: str, name: str, argument: PathArgument
) -> None:
    def wrap() -> None:
        holder, wrapper = sys.modules.get(module), _wrapper(redirection, (argument,))
        original = None if holder is None else vars(holder).get(name)
        if original is None:
            return
        try:
            installed.enter_context(CallablePatch(holder, name, wrapper))
        except TypeError:  # a class of which there can be no subclass, as some in Rust
            setattr(holder, name, partial(wrapper, original))
            installed.callback(setattr, holder, name, original)

    installed.callback(when_imported(awaited, wrap))
