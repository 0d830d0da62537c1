"""A mirror of the file system made of links: reading through it gives the user's files, writing in it creates files of its own.

The mirror repeats absolute paths under its root. A folder on the way to a place that is written becomes a real folder, whose
entries are links; a file that is written becomes a copy. So `../data/x.npz` still resolves, and no file of the user's is changed.
Mirrors lie in the temporary folder, outside of every project. Call `own_file`, `own_folder` or `entry` before writing."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import final

MAX_ENTRIES = 50_000  # of a folder that is mirrored: half a second's links
MAX_COPY_BYTES = 2**30  # a larger file that is opened for changes in place is, as a rule, data that are only read
PREFIX = "unvanish-mirror-"  # of the temporary folders that hold mirrors
MAX_LINK_HOPS = 40  # links that lead to links, as in the Linux kernel
_ROOT = Path(os.sep)


class TooLarge(Exception):
    """A folder has too many entries, or a file too many bytes, to be repeated for each trial."""


@final
class Mirror:
    """A mirror in `folder`, a path without links. Threads and forked processes may use it at the same time.

    Example:
        >>> mirror = Mirror(Path("/mirrors/x"))
        >>> str(mirror.to_mirror(Path("/projects/train.py")))
        '/mirrors/x/tree/projects/train.py'
        >>> str(mirror.to_original(Path("/mirrors/x/tree/projects/train.py")))
        '/projects/train.py'
    """

    def __init__(self, folder: Path) -> None:
        self.root, self._drafts, self._number = folder / "tree", folder / "drafts", count()
        self._loose, self.temporary = folder / "loose", folder / "tmp"
        self._updates = threading.local()
        self._listed: set[Path] = set()

    def create(self) -> None:
        """Creates the mirror. Raises TooLarge or OSError where that fails."""
        for folder in (self._drafts, self.root, self.temporary):
            folder.mkdir()
        self._link_entries(_ROOT, self.root)

    def remove(self) -> None:
        """Removes the mirror; links are removed, never followed."""
        folder = self.root.parent
        shutil.rmtree(folder, ignore_errors=True)
        if folder.is_dir():  # the script has protected a folder of its own
            folder.chmod(0o700)
            for parent, names, _ in os.walk(folder):
                for path in (Path(parent, name) for name in names):
                    if not path.is_symlink():
                        path.chmod(0o700)
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def is_updating(self) -> bool:
        """Whether this thread is changing the mirror: file operations meanwhile are not the script's."""
        return getattr(self._updates, "running", False)

    @contextmanager
    def updating(self) -> Generator[None]:
        """A context in which this thread changes the mirror."""
        self._updates.running = True
        try:
            yield
        finally:
            self._updates.running = False

    def contains(self, path: Path) -> bool:
        """Whether an absolute path, as it is written, lies in the mirror."""
        return path.is_relative_to(self.root)

    def to_mirror(self, path: Path) -> Path:
        """The path in the mirror that stands for an absolute path of the user's."""
        return path if self.contains(path) else self.root / path.relative_to(_ROOT)

    def to_original(self, path: Path) -> Path:
        """The user's path that a path in the mirror stands for; any other path as it is."""
        return _ROOT / path.relative_to(self.root) if self.contains(path) else path

    def with_user_paths(self, text: str) -> str:
        """A text with the user's paths in place of those that stand for them in the mirror."""
        return text.replace(str(self.root), "").replace(str(self._loose), "")

    def is_real(self, path: Path) -> bool:
        """Whether a path in the mirror is there, and neither it nor a folder on the way is a link."""
        place = str(self.root)
        for part in ("", *path.relative_to(self.root).parts):
            place = os.path.join(place, part) if part else place  # noqa: PTH118 - on the way of every file that is opened
            try:
                if stat.S_ISLNK(os.lstat(place).st_mode):
                    return False
            except OSError:
                return False
        return True

    def own_folder(self, path: Path) -> Path:
        """Where the absolute path of a folder leads, resolved as the kernel does, once each folder on the way is a real one.

        Raises TooLarge where a folder has too many entries.
        """
        parts, resolved, hops = list(path.parts[:0:-1]), _ROOT, 0
        while parts:
            part = parts.pop()
            place = resolved.parent if part == ".." else resolved / part
            target = _link_target(place)
            if target is None or hops == MAX_LINK_HOPS:
                resolved = place
            elif self._leads_outside(place, target):
                self._replace_by_folder(place, target)
                resolved = place
            else:
                hops += 1
                parts += target.parts[:0:-1] if target.is_absolute() else target.parts[::-1]
                resolved = _ROOT if target.is_absolute() else resolved
        return resolved

    def entry(self, path: Path) -> Path:
        """Where an absolute path has its entry, once the folder around it is a real one. Raises TooLarge."""
        return self.own_folder(path) if path.name in ("", "..") else self.own_folder(path.parent) / path.name

    def own_file(self, path: Path, *, keep: bool) -> Path:
        """Where an absolute path leads, once writing there reaches no file of the user's. `keep` copies the content first.

        Raises TooLarge where the file is too large to copy.
        """
        place = self.entry(path)
        for _ in range(MAX_LINK_HOPS):
            target = _link_target(place) if self.contains(place) else None
            if target is None:
                break
            if self._leads_outside(place, target):
                self._replace_by_copy(place, target, keep=keep)
                break
            place = self.entry(place.parent / target)
        return place

    def loose(self, path: Path) -> Path:
        """Where a file lies whose folder has too many entries to be repeated: beside the mirror's tree."""
        return self._loose / path.relative_to(_ROOT)

    def own_loose(self, path: Path) -> Path:
        """The place of `loose`, once the folder around it is there."""
        place = self.loose(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        return place

    def own_subfolders(self, folder: Path, max_links: int) -> int:
        """How many links were made, at most `max_links`, so that the subfolders of a real folder are real folders too.

        Only the first call for a folder does anything: it may hold much, and be listed often.
        """
        link_count, folder = 0, folder.resolve()
        if folder in self._listed or not self.contains(folder):
            return link_count
        self._listed.add(folder)
        for place in list(folder.iterdir()):
            target = _link_target(place)
            if target is not None and self._leads_outside(place, target) and target.is_dir() and not target.is_symlink():
                with suppress(TooLarge, OSError):  # it may be protected, or gone by now
                    link_count += self._replace_by_folder(place, target, max_links - link_count)
        return link_count

    def _leads_outside(self, path: Path, target: Path) -> bool:
        """Whether a link in the mirror leads out of it."""
        return self.contains(path) and target.is_absolute() and not self.contains(target)

    def _replace_by_folder(self, link: Path, source: Path, max_entries: int = MAX_ENTRIES) -> int:
        """The number of entries of the folder that took the place of a link to `source`."""
        if not source.is_dir():
            return 0
        draft = self._draft()
        draft.mkdir()
        try:
            link_count = self._link_entries(source, draft, max_entries)
            link.unlink()
            draft.rename(link)
        except OSError:
            if link.is_symlink() or not link.is_dir():
                raise
            link_count = 0  # another thread or process was faster
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return link_count

    def _link_entries(self, source: Path, folder: Path, max_entries: int = MAX_ENTRIES) -> int:
        """The number of links made in `folder` to the entries of `source`, without this mirror and other mirrors."""
        link_count = 0
        with os.scandir(source) as entries:
            for entry in entries:
                path = source / entry.name
                if path.parent == self.root.parents[1] and entry.name.startswith(PREFIX):
                    continue
                link_count += 1
                if link_count > max_entries:
                    raise TooLarge(f"{source} has more than {max_entries} entries")
                target = path.readlink() if entry.is_symlink() else path
                # A relative link to a sibling is repeated, so that it leads to that sibling in the mirror.
                leads_to_sibling = not target.is_absolute() and ".." not in target.parts
                (folder / entry.name).symlink_to(target if leads_to_sibling else path)
        return link_count

    def _replace_by_copy(self, link: Path, source: Path, *, keep: bool) -> None:
        """Puts a copy of a file in the place of a link to it, or nothing where there is none or its content need not be kept."""
        status = source.stat() if source.exists() else None
        if status is None or (stat.S_ISREG(status.st_mode) and not keep):
            link.unlink(missing_ok=True)
        elif stat.S_ISREG(status.st_mode):
            if status.st_size > MAX_COPY_BYTES:
                raise TooLarge(f"{source} has {status.st_size} bytes")
            draft = self._draft()
            shutil.copy2(source, draft)
            draft.replace(link)

    def _draft(self) -> Path:
        return self._drafts / f"{os.getpid()}-{next(self._number)}"


def _link_target(path: Path) -> Path | None:
    """The target of a link, as it is written in it; None for anything that is not a link."""
    try:  # another process of the trial may put a folder or a copy in its place at any moment
        return path.readlink() if path.is_symlink() else None
    except OSError:
        return None
