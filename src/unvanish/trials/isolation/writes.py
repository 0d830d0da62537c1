"""Tracks the files that a script writes: prepares its mirror for each write beforehand, and logs what was written.

What Python itself opens, makes, renames and deletes is reported by an audit hook, which Python never removes: outside of the
context it does nothing. Savers that write in C++ or Rust are wrapped. Writes of other programs and libraries are not tracked."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from unvanish.import_hooks import when_imported
from unvanish.monkey_patch import CallablePatch
from unvanish.trials.isolation.mirror import Mirror, TooLarge
from unvanish.trials.isolation.redirection import (
    FOREIGN_FUNCTIONS,
    WRITE_FLAGS,
    PathArgument,
    Redirection,
    is_write_mode,
    redirecting,
)

MAX_LOGGED = 10_000  # paths
MAX_NAMED = 5  # paths in a warning
MAX_LISTED_LINKS = 20_000  # made for a script that walks through its working folder
_CACHES = ("XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


@dataclass(frozen=True, slots=True)
class Writes:
    """What a trial wrote, as the user's paths, sorted: `own` in its mirror, `shared` elsewhere, where all trials write."""

    own: tuple[Path, ...] = ()
    shared: tuple[Path, ...] = ()

    @property
    def statement(self) -> str:
        """One sentence for people about what trials leave; "" where `warning` says more."""
        if self.shared:
            return ""
        return "Each trial wrote to a copy that is gone: your files, your home and your trackers' accounts are as they were."

    @property
    def warning(self) -> str | None:
        """One text for people about the files that trials share; None where there are none."""
        if not self.shared:
            return None
        more = len(self.shared) - MAX_NAMED
        names = ", ".join(str(path) for path in self.shared[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
        return (
            f"All trials write to {names}, so one may meet what another has left there. It lies outside of the copy of your folder"
            " which each trial gets: the path is absolute, or no copy could be made."
            " A path relative to the script would keep them apart."
        )


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Which arguments of an audit event are paths, and what happens to them.

    `paths` pairs the position of each path with that of the descriptor of the folder that it is relative to. `action` is "entry"
    where a path is created or removed, "file" or "database" where it is changed in place, "folder" where it is entered or emptied,
    "read" where its entries are listed. `is_write` says whether it is logged.
    """

    paths: tuple[tuple[int, int], ...]
    action: str
    is_write: bool = True


AUDIT_EVENTS = {
    "os.mkdir": AuditEvent(((0, 2),), "entry"),
    "os.remove": AuditEvent(((0, 1),), "entry"),
    "os.rename": AuditEvent(((0, 2), (1, 3)), "entry"),
    "os.symlink": AuditEvent(((1, 2),), "entry"),
    "os.link": AuditEvent(((0, 2), (1, 3)), "file"),
    "os.truncate": AuditEvent(((0, 9),), "file"),
    "os.utime": AuditEvent(((0, 3),), "file"),
    "os.chmod": AuditEvent(((0, 2),), "file"),
    "sqlite3.connect": AuditEvent(((0, 9),), "database"),
    "os.rmdir": AuditEvent(((0, 1),), "folder"),
    "shutil.rmtree": AuditEvent(((0, 1),), "folder"),
    "os.chdir": AuditEvent(((0, 9),), "folder", is_write=False),
    "os.scandir": AuditEvent(((0, 9),), "read", is_write=False),
}
# Those of the foreign functions that write: without an audit event.
SAVERS = tuple(function for function in FOREIGN_FUNCTIONS if function[3].is_write)


@contextmanager
def track_writes(
    log: Path, mirror: Mirror | None, *, user_folders: Sequence[Path] = (), writable: Sequence[Path] = ()
) -> Generator[None]:
    """A context in which every write is logged, and goes to the mirror where it would change a file of the user's.

    Arguments:
        log: the file to which the paths are appended, for `read_writes`.
        mirror: the mirror in which the script runs; without one, everything is written to the user's own files.
        user_folders: folders whose files are logged even where they lie among temporary files or caches.
        writable: folders in which absolute paths are written as they are; others are sent to the mirror.

    Where the mirror cannot be prepared because the disk is full, the write fails as it would anyway.
    """
    trackers: list[_WriteTracker] = [_WriteTracker(log, mirror, user_folders)]  # empty once the context is left
    redirection = nullcontext() if mirror is None else redirecting(Redirection(mirror, writable))

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if trackers and (event in AUDIT_EVENTS or (event == "open" and _opens_for_writing(args))):
            trackers[0].on_event(event, args)

    sys.addaudithook(hook)
    restore: list[Callable[[], None]] = []
    cancel_waits = [when_imported(saver[0], lambda saver=saver: restore.append(trackers[0].wrap(*saver[1:]))) for saver in SAVERS]
    try:
        with redirection:
            yield
    finally:
        for undo in (*cancel_waits, *restore):
            undo()
        trackers.clear()


def read_writes(log: Path) -> Writes:
    """The writes in a trial's log; none where there is no log."""
    paths: dict[bool, set[Path]] = {True: set(), False: set()}
    if log.is_file():
        for line in log.read_text(encoding="utf-8").splitlines():
            with suppress(json.JSONDecodeError):  # the last line of a process that was killed
                is_own, path = json.loads(line)
                paths[is_own].add(Path(path))
    return Writes(tuple(sorted(paths[True])), tuple(sorted(paths[False])))


def _opens_for_writing(args: tuple[Any, ...]) -> bool:
    _, mode, flags = args
    return bool(flags & WRITE_FLAGS) or (mode is not None and is_write_mode(mode))


@final
class _WriteTracker:
    """Owner of the logged paths, and of the budget of links for folders that are only listed.

    File operations of its own and of the mirror are ignored.
    """

    def __init__(self, log: Path, mirror: Mirror | None, user_folders: Sequence[Path]) -> None:
        self._log, self._mirror, self._user_folders = log, mirror, tuple(user_folders)
        self._scratch = _scratch_folders(log.parent)
        self._logged: set[Path] = set()
        self._links_left = MAX_LISTED_LINKS
        self._logging = threading.local()

    def on_event(self, event: str, args: tuple[Any, ...]) -> None:
        """Handles an audit event, before the operation takes place."""
        if getattr(self._logging, "running", False) or (self._mirror is not None and self._mirror.is_updating):
            return
        if event == "open":
            is_exclusive, keep = args[2] & os.O_EXCL, not args[2] & os.O_TRUNC
            self._handle(_absolute(args[0], None), "entry" if is_exclusive else "file", keep=keep)
            return
        description = AUDIT_EVENTS[event]
        for position, folder in description.paths:
            path = _absolute(args[position], args[folder] if len(args) > folder else None)
            if event != "os.mkdir" or path is None or not path.exists():
                self._handle(path, description.action, is_write=description.is_write)

    def wrap(self, module: str, name: str, argument: PathArgument) -> Callable[[], None]:
        """A function that unwraps the saver `name` of a module, which from now on announces the file that it writes."""

        def save(original: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            path = args[argument.position] if len(args) > argument.position else kwargs.get(argument.name)
            self.on_event("open", (path, "w", os.O_TRUNC))
            return original(*args, **kwargs)

        patch = CallablePatch(sys.modules[module], name, save)
        patch.install()
        return patch.remove

    def _handle(self, path: Path | None, action: str, *, keep: bool = True, is_write: bool = True) -> None:
        if path is None:
            return
        written = path
        if self._mirror is not None and self._mirror.contains(path):
            try:
                with self._mirror.updating():
                    written = self._prepare(self._mirror, path, action, keep)
            except TooLarge:
                written = self._mirror.to_original(path)
        if is_write:
            self._logging.running = True
            self._append(written)
            self._logging.running = False

    def _prepare(self, mirror: Mirror, path: Path, action: str, keep: bool) -> Path:
        """Where a path in the mirror leads, once the operation on it cannot reach the user's files."""
        if action == "read":
            self._links_left -= mirror.own_subfolders(path, self._links_left)
            return path
        if action == "entry":
            return mirror.entry(path)
        if action == "folder" or path.is_dir():
            return mirror.own_folder(path)
        if action == "database":
            for suffix in ("-journal", "-wal", "-shm"):
                mirror.own_file(path.with_name(path.name + suffix), keep=True)
        return mirror.own_file(path, keep=keep)

    def _append(self, path: Path) -> None:
        is_own = self._mirror is not None and self._mirror.contains(path)
        if path in self._logged or len(self._logged) == MAX_LOGGED or "__pycache__" in path.parts:
            return
        if not is_own and self._is_scratch(path):
            return
        self._logged.add(path)
        user_path = self._mirror.to_original(path) if is_own and self._mirror is not None else path
        # Opened each time: a descriptor that is kept would be closed, or taken by another file, where the script closes all.
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps([is_own, str(user_path)]) + "\n")

    def _is_scratch(self, path: Path) -> bool:
        """Whether a path lies among temporary files, caches or devices, and not in one of the user's folders."""
        roots = [root for root in self._scratch if path.is_relative_to(root)]
        home = Path.home()
        if path.is_relative_to(home) and path.relative_to(home).parts[:1] and path.relative_to(home).parts[0].startswith("."):
            roots.append(home / path.relative_to(home).parts[0])
        return any(
            not any(path.is_relative_to(folder) and folder.is_relative_to(root) for folder in self._user_folders) for root in roots
        )


def _scratch_folders(trial: Path) -> tuple[Path, ...]:
    names = [tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev", "/proc", "/sys", sys.prefix, sys.base_prefix]
    names += [os.environ[name] for name in _CACHES if name in os.environ]
    return tuple(dict.fromkeys([trial, *(Path(name) for name in names), *(Path(name).resolve() for name in names)]))


def _absolute(path: Any, folder: int | None) -> Path | None:
    """The absolute path of what the script gave; None where it is no path, or relative to an open folder without a name."""
    if isinstance(path, int) or path is None:
        return None
    try:
        raw_path = Path(os.fsdecode(path))
    except TypeError:  # an object that is written to
        return None
    if raw_path.is_absolute() or folder in (None, -1):
        return Path.cwd() / raw_path
    link = Path(f"/proc/self/fd/{folder}")
    return link.readlink() / raw_path if link.is_symlink() else None
