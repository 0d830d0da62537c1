"""Forbids this process, and all that it starts, to write anywhere but in a few folders: by Landlock, where the Linux kernel has it.

It is the last resort behind the mirror: it also binds what is written in C++, by other programs, and through links."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

# Numbers of linux/landlock.h and of the system calls, which are the same on all architectures.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION, _PATH_BENEATH = 1, 1
_NO_NEW_PRIVILEGES = 38  # of prctl: a program that this one starts gains no rights by a set-user-id bit
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
# Removing folders and files, making files of every type, links and renames from folder to folder.
_CHANGE_FOLDER = sum(1 << bit for bit in range(4, 14))
_LEAST_VERSION = 2  # the first one forbids every rename from folder to folder
_TRUNCATE_VERSION = 3
SYSTEM_FOLDERS = ("/dev", "/proc", "/sys", "/run")


def writable_folders(own: Iterable[Path], user_folders: Sequence[Path]) -> tuple[Path, ...]:
    """The folders in which a trial may write as it is: its own, the system's for devices, and temporary ones without the user's.

    Where the user works in the temporary folder, that is the folders in it as they are now, without those on the way there.
    """
    real_user_folders = [folder.resolve() for folder in user_folders]
    roots = {Path(name).resolve() for name in (tempfile.gettempdir(), "/tmp", "/var/tmp")}
    temporary = (folder for root in sorted(roots) for folder in _without(root, real_user_folders))
    paths = [*own, *map(Path, SYSTEM_FOLDERS), *temporary]
    return tuple(dict.fromkeys(path.resolve() for path in paths if path.is_dir()))


def _without(root: Path, user_folders: Sequence[Path]) -> Iterator[Path]:
    if not any(folder.is_relative_to(root) for folder in user_folders):
        yield root
        return
    with suppress(OSError):
        children = [child for child in root.iterdir() if child.is_dir() and not child.is_symlink()]
        yield from (child for child in children if not any(folder.is_relative_to(child) for folder in user_folders))


def forbid_other_writes(folders: Sequence[Path]) -> bool:
    """Whether from now on this thread, and the threads and processes that it starts, can write in these folders only.

    It cannot be undone. False where the kernel has no Landlock, or a container forbids it.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))
    if version < _LEAST_VERSION:
        return False
    on_file = _WRITE_FILE | (_TRUNCATE if version >= _TRUNCATE_VERSION else 0)
    attributes = struct.pack("=Q", on_file | _CHANGE_FOLDER)
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    try:
        for folder in folders:
            _allow(libc, ruleset, folder, on_file)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        return libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)) == 0
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, on_file: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        rule = struct.pack("=Qi", on_file | _CHANGE_FOLDER if is_folder else on_file, descriptor)
        libc.syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(descriptor)
