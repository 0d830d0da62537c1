"""Notices that a script is about to write, has its mirror make room first, and notes what was written. It hinders no write.

What Python itself opens, makes, renames and deletes is heard of by an audit hook, which the interpreter never lets go: outside of
the context it does nothing. Savers that write in C++ or Rust are wrapped. What other programs and libraries write is not noticed.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from unvanish.trials.isolation.mirror import Mirror, TooLarge
from unvanish.trials.script.import_hooks import when_imported

MOST_NOTED = 10_000
MOST_NAMED = 5  # in a warning
MOST_OPENED = 20_000  # links made for a script that walks through its working folder
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CACHES = ("XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


@dataclass(frozen=True, slots=True)
class Writes:
    """What a trial wrote, as the user's paths, sorted: in its mirror, and elsewhere, where trials meet each other's files."""

    own: tuple[Path, ...] = ()
    shared: tuple[Path, ...] = ()

    @property
    def warning(self) -> str | None:
        """What to tell a person of what trials share; None where that is nothing."""
        if not self.shared:
            return None
        more = len(self.shared) - MOST_NAMED
        names = ", ".join(str(path) for path in self.shared[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
        return (
            f"All trials write to {names}, so one may meet what another has left there. It lies outside of the copy of your folder"
            " which each trial gets: the path is absolute, or no copy could be made."
            " A path relative to the script would keep them apart."
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Which arguments of an audit event are paths: each with that of its folder's descriptor, and what becomes of the path.

    "entry": it comes to be or goes; "file", "database": it is changed in place; "folder": it is entered or emptied; "read": what it
    holds is listed.
    """

    paths: tuple[tuple[int, int], ...]
    deed: str
    noted: bool = True


EVENTS = {
    "os.mkdir": Event(((0, 2),), "entry"),
    "os.remove": Event(((0, 1),), "entry"),
    "os.rename": Event(((0, 2), (1, 3)), "entry"),
    "os.symlink": Event(((1, 2),), "entry"),
    "os.link": Event(((0, 2), (1, 3)), "file"),
    "os.truncate": Event(((0, 9),), "file"),
    "os.utime": Event(((0, 3),), "file"),
    "os.chmod": Event(((0, 2),), "file"),
    "sqlite3.connect": Event(((0, 9),), "database"),
    "os.rmdir": Event(((0, 1),), "folder"),
    "shutil.rmtree": Event(((0, 1),), "folder"),
    "os.chdir": Event(((0, 9),), "folder", noted=False),
    "os.scandir": Event(((0, 9),), "read", noted=False),
}
# Functions that write without Python's knowledge: the module to wait for, the one that has it, its name, its path's place and name.
SAVERS = (
    ("torch", "torch", "save", 1, "f"),
    ("torch", "torch.jit", "save", 1, "f"),
    ("safetensors.torch", "safetensors.torch", "save_file", 1, "filename"),
    ("safetensors.numpy", "safetensors.numpy", "save_file", 1, "filename"),
    ("cv2", "cv2", "imwrite", 0, "filename"),
)


@contextmanager
def noticing_writes(log: Path, mirror: Mirror | None, *, ground: Sequence[Path] = ()) -> Generator[None]:
    """A context in which the mirror makes room for what is written, and what is written is noted in `log`, for `written`.

    `ground` are the user's folders that are of interest wherever they lie, also among temporary files. Without a mirror, all goes
    to the user's own files. Where room cannot be made because the disk is full, the write fails as it would then.
    """
    watch: list[_Watch] = [_Watch(log, mirror, ground)]

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if watch and (event in EVENTS or (event == "open" and _opens_for_writing(args))):
            watch[0].hears(event, args)

    sys.addaudithook(hook)
    restore: list[Callable[[], None]] = []
    cancel = [when_imported(saver[0], lambda saver=saver: restore.append(watch[0].wrap(*saver[1:]))) for saver in SAVERS]
    try:
        yield
    finally:
        for undo in (*cancel, *restore):
            undo()
        watch.clear()


def written(log: Path) -> Writes:
    """What a trial noted; nothing where it did not come to write."""
    noted: dict[bool, set[Path]] = {True: set(), False: set()}
    if log.is_file():
        for line in log.read_text(encoding="utf-8").splitlines():
            with suppress(json.JSONDecodeError):  # the last line of a process that was killed
                own, path = json.loads(line)
                noted[own].add(Path(path))
    return Writes(tuple(sorted(noted[True])), tuple(sorted(noted[False])))


def _opens_for_writing(args: tuple[Any, ...]) -> bool:
    _, mode, flags = args
    return bool(flags & _WRITES) or (mode is not None and not {"w", "a", "x", "+"}.isdisjoint(mode))


@final
class _Watch:
    """Owner of what was noted, and of the budget for folders that are only read. It ignores what itself and its mirror do."""

    def __init__(self, log: Path, mirror: Mirror | None, ground: Sequence[Path]) -> None:
        self._log, self._mirror, self._ground = log, mirror, tuple(ground)
        self._scratch = _scratch_folders(log.parent)
        self._noted: set[Path] = set()
        self._left = MOST_OPENED
        self._busy = threading.local()  # while a thread writes the log

    def hears(self, event: str, args: tuple[Any, ...]) -> None:
        """Something is about to happen to a file."""
        if getattr(self._busy, "now", False) or (self._mirror is not None and self._mirror.altering):
            return
        if event == "open":
            exclusive, keep = args[2] & os.O_EXCL, not args[2] & os.O_TRUNC
            self._meets(_absolute(args[0], None), "entry" if exclusive else "file", keep=keep)
            return
        what = EVENTS[event]
        for at, folder in what.paths:
            path = _absolute(args[at], args[folder] if len(args) > folder else None)
            if event != "os.mkdir" or path is None or not path.exists():
                self._meets(path, what.deed, noted=what.noted)

    def wrap(self, home: str, name: str, position: int, keyword: str) -> Callable[[], None]:
        """Wraps a function that writes a file. What comes back undoes that."""
        module = sys.modules[home]
        original = getattr(module, name)

        @functools.wraps(original)
        def save(*args: Any, **kwargs: Any) -> Any:
            place = args[position] if len(args) > position else kwargs.get(keyword)
            self.hears("open", (place, "w", os.O_TRUNC))
            return original(*args, **kwargs)

        setattr(module, name, save)
        return lambda: setattr(module, name, original) if getattr(module, name) is save else None

    def _meets(self, path: Path | None, deed: str, *, keep: bool = True, noted: bool = True) -> None:
        if path is None:
            return
        place = path
        if self._mirror is not None and self._mirror.holds(path):
            try:
                with self._mirror.alteration():
                    place = self._make_room(self._mirror, path, deed, keep)
            except TooLarge:
                place = self._mirror.original(path)
        if noted:
            self._busy.now = True
            self._note(place)
            self._busy.now = False

    def _make_room(self, mirror: Mirror, path: Path, deed: str, keep: bool) -> Path:
        """Where a path in the mirror leads, once what is about to happen there leaves the user's files alone."""
        if deed == "read":
            self._left -= mirror.open_children(path, self._left)
            return path
        if deed == "entry":
            return mirror.entry(path)
        if deed == "folder" or path.is_dir():
            return mirror.own_folder(path)
        if deed == "database":
            for suffix in ("-journal", "-wal", "-shm"):
                mirror.own_file(path.with_name(path.name + suffix), keep=True)
        return mirror.own_file(path, keep=keep)

    def _note(self, path: Path) -> None:
        own = self._mirror is not None and self._mirror.holds(path)
        if path in self._noted or len(self._noted) == MOST_NOTED or "__pycache__" in path.parts:
            return
        if not own and self._is_scratch(path):
            return
        self._noted.add(path)
        shown = self._mirror.original(path) if own and self._mirror is not None else path
        # Opened each time: a descriptor that is kept would be closed, or taken by another file, where the script closes all.
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps([own, str(shown)]) + "\n")

    def _is_scratch(self, path: Path) -> bool:
        """Whether a path lies among files that nobody keeps: temporary ones, caches, devices. The ground itself never does."""
        roots = [root for root in self._scratch if path.is_relative_to(root)]
        home = Path.home()
        if path.is_relative_to(home) and path.relative_to(home).parts[:1] and path.relative_to(home).parts[0].startswith("."):
            roots.append(home / path.relative_to(home).parts[0])
        return any(not any(path.is_relative_to(g) and g.is_relative_to(root) for g in self._ground) for root in roots)


def _scratch_folders(trial: Path) -> tuple[Path, ...]:
    names = [tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev", "/proc", "/sys", sys.prefix, sys.base_prefix]
    names += [os.environ[name] for name in _CACHES if name in os.environ]
    return tuple(dict.fromkeys([trial, *(Path(name) for name in names), *(Path(name).resolve() for name in names)]))


def _absolute(path: Any, folder: int | None) -> Path | None:
    """A path as the script gave it, made absolute; None where it is none, or relative to an open folder that cannot be named."""
    if isinstance(path, int) or path is None:
        return None
    try:
        spelt = Path(os.fsdecode(path))
    except TypeError:  # an object that is written to
        return None
    if spelt.is_absolute() or folder in (None, -1):
        return Path.cwd() / spelt
    link = Path(f"/proc/self/fd/{folder}")
    return link.readlink() / spelt if link.is_symlink() else None
