"""A tree of links that stands for the whole file system: what is read through it is the user's, what is written in it is its own.

The tree repeats absolute paths under its root. A folder on the way to a place that is written becomes a folder of the tree's own,
whose entries are links; a file that is written becomes a copy. So `../data/x.npz` still resolves, and nothing of the user's is
touched. It does not notice by itself that something is about to be written. Trees stand among the temporary files, where nobody
who walks through a project meets them.
"""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import final

MOST_ENTRIES = 50_000  # of a folder that is mirrored: half a second's links
LARGEST_COPY = 256 * 2**20  # bytes; a larger file that is opened for changes in place is, as a rule, data that are only read
PREFIX = "unvanish-mirror-"  # of the folders that hold trees
MOST_HOPS = 40  # links that lead to links, as in the kernel
_TOP = Path(os.sep)


class TooLarge(Exception):
    """A folder has too many entries, or a file too many bytes, to be had once more for each trial."""


@final
class Mirror:
    """The tree in a folder of its own, `house`, a path without links. Threads and forked processes may use it at once: who comes
    second finds it done."""

    def __init__(self, house: Path) -> None:
        self.root, self._drafts, self._number = house / "tree", house / "drafts", count()
        self._altering = threading.local()
        self._listed: set[Path] = set()

    def plant(self, folders: Sequence[Path]) -> None:
        """Makes the tree, in which these folders of the user's are its own. Raises TooLarge or OSError where it cannot be made."""
        self._drafts.mkdir()
        self.root.mkdir()
        self._link_entries(_TOP, self.root)
        for folder in folders:
            self.own_folder(self.place_of(folder))

    def clear(self) -> None:
        """Removes the tree; links are removed, never followed."""
        house = self.root.parent
        shutil.rmtree(house, ignore_errors=True)
        if house.is_dir():  # the script has protected a folder of its own
            house.chmod(0o700)
            for here, names, _ in os.walk(house):
                for each in (Path(here, name) for name in names):
                    if not each.is_symlink():
                        each.chmod(0o700)
            shutil.rmtree(house, ignore_errors=True)

    @property
    def altering(self) -> bool:
        """Whether this thread is altering the tree: what happens to files meanwhile is not the script's doing."""
        return getattr(self._altering, "now", False)

    @contextmanager
    def alteration(self) -> Generator[None]:
        """A context in which this thread alters the tree."""
        self._altering.now = True
        try:
            yield
        finally:
            self._altering.now = False

    def holds(self, path: Path) -> bool:
        """Whether an absolute path lies in the tree by its spelling."""
        return path.is_relative_to(self.root)

    def place_of(self, path: Path) -> Path:
        """Where an absolute path of the user's has its place in the tree."""
        return path if self.holds(path) else self.root / path.relative_to(_TOP)

    def original(self, path: Path) -> Path:
        """The user's path that a path in the tree stands for; any other path as it is."""
        return _TOP / path.relative_to(self.root) if self.holds(path) else path

    def own_folder(self, path: Path) -> Path:
        """Where an absolute path of a folder leads, read as the kernel reads it, once each folder on the way is the tree's own.

        Raises TooLarge where a folder cannot be had once more.
        """
        parts, done, hops = list(path.parts[:0:-1]), _TOP, 0
        while parts:
            part = parts.pop()
            here = done.parent if part == ".." else done / part
            target = _link(here)
            if target is None or hops == MOST_HOPS:
                done = here
            elif self._leads_out(here, target):
                self._open_up(here, target)
                done = here
            else:
                hops += 1
                parts += target.parts[:0:-1] if target.is_absolute() else target.parts[::-1]
                done = _TOP if target.is_absolute() else done
        return done

    def entry(self, path: Path) -> Path:
        """Where an absolute path has its entry, once the folder that holds it is the tree's own. Raises TooLarge."""
        return self.own_folder(path) if path.name in ("", "..") else self.own_folder(path.parent) / path.name

    def own_file(self, path: Path, *, keep: bool) -> Path:
        """Where an absolute path leads, once writing there reaches no file of the user's. `keep` copies what stands there.

        Raises TooLarge where it would be too much to copy.
        """
        here = self.entry(path)
        for _ in range(MOST_HOPS):
            target = _link(here) if self.holds(here) else None
            if target is None:
                break
            if self._leads_out(here, target):
                self._replace(here, target, keep=keep)
                break
            here = self.entry(here.parent / target)
        return here

    def open_children(self, folder: Path, most: int) -> int:
        """How many links were made so that the folders in a folder of the tree's own are folders too, at most `most`.

        Only the first call for a folder does anything: it may hold much, and be listed often.
        """
        made, folder = 0, folder.resolve()
        if folder in self._listed or not self.holds(folder):
            return made
        self._listed.add(folder)
        for here in list(folder.iterdir()):
            target = _link(here)
            if target is not None and self._leads_out(here, target) and target.is_dir() and not target.is_symlink():
                with suppress(TooLarge, PermissionError):
                    made += self._open_up(here, target, most - made)
        return made

    def _leads_out(self, path: Path, target: Path) -> bool:
        """Whether a link in the tree leads out of it."""
        return self.holds(path) and target.is_absolute() and not self.holds(target)

    def _open_up(self, link: Path, source: Path, most: int = MOST_ENTRIES) -> int:
        """The number of entries of a folder that took the place of a link to `source`."""
        if not source.is_dir():
            return 0
        draft = self._draft()
        draft.mkdir()
        try:
            made = self._link_entries(source, draft, most)
            link.unlink()
            draft.rename(link)
        except OSError:
            if link.is_symlink() or not link.is_dir():
                raise
            made = 0  # another thread or process was here first
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return made

    def _link_entries(self, source: Path, folder: Path, most: int = MOST_ENTRIES) -> int:
        """The number of links made in `folder` to what `source` holds, without this tree and its neighbours."""
        made = 0
        with os.scandir(source) as entries:
            for entry in entries:
                here = source / entry.name
                if here.parent == self.root.parents[1] and entry.name.startswith(PREFIX):
                    continue
                made += 1
                if made > most:
                    raise TooLarge(f"{source} has more than {most} entries")
                link = here.readlink() if entry.is_symlink() else here
                # A link to a neighbour leads to that neighbour's place in the tree.
                beside = not link.is_absolute() and ".." not in link.parts
                (folder / entry.name).symlink_to(link if beside else here)
        return made

    def _replace(self, link: Path, source: Path, *, keep: bool) -> None:
        """Puts a copy of a file in the place of a link to it, or nothing where there is none or its content need not be kept."""
        status = source.stat() if source.exists() else None
        if status is None or (stat.S_ISREG(status.st_mode) and not keep):
            link.unlink(missing_ok=True)
        elif stat.S_ISREG(status.st_mode):
            if status.st_size > LARGEST_COPY:
                raise TooLarge(f"{source} has {status.st_size} bytes")
            draft = self._draft()
            shutil.copy2(source, draft)
            draft.replace(link)

    def _draft(self) -> Path:
        return self._drafts / f"{os.getpid()}-{next(self._number)}"


def _link(path: Path) -> Path | None:
    """What a link leads to, as it is spelt; None for anything else."""
    return path.readlink() if path.is_symlink() else None
