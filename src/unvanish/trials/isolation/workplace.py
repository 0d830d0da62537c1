"""Where a trial works: in a mirror of the user's folders, so that what it writes is neither the user's nor another trial's.

Code is compiled under the user's own paths, so records and tracebacks show those; `in_users_terms` brings other texts back to them.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from unvanish.trials.isolation.mirror import PREFIX, Mirror, TooLarge

if TYPE_CHECKING:
    from unvanish.trials.script.execution import Script

ADDRESS = "mirror.txt"  # in the trial's folder: where its mirror is, or was


def set_up(folder: Path, script: Script, cwd: Path) -> Mirror | None:
    """A mirror for the trial of a folder, whose script is run from `cwd`; None where there can be none, so that trials share files.

    That is where a folder on the way holds too many entries or must not be listed, or where the disk refuses links.
    """
    house = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    mirror, real = Mirror(house), _real(script, cwd)
    try:
        mirror.plant([cwd.resolve(), *([real.parent] if real is not None else [])])
        if real is not None:
            mirror.own_file(mirror.place_of(real), keep=True)
    except (TooLarge, OSError):
        mirror.clear()
        return None
    (folder / ADDRESS).write_text(str(house), encoding="utf-8")
    return mirror


def workplace_in(folder: Path) -> Mirror | None:
    """The mirror that was set up in a trial's folder."""
    house = _address(folder)
    return None if house is None else Mirror(house)


def working_folder(mirror: Mirror | None, cwd: Path) -> Path:
    """Where a trial's process is to start in place of `cwd`."""
    return cwd if mirror is None else mirror.place_of(cwd.resolve())


def script_in(mirror: Mirror | None, script: Script, cwd: Path) -> Script:
    """The script as it is to be run by a process that started in the mirror. What leads there from `cwd` stays as it is spelt."""
    real = _real(script, cwd)
    if mirror is None or real is None or script.path is None:
        return script
    leads_there = not script.path.is_absolute() and real == cwd.resolve() / script.path
    return script if leads_there else replace(script, path=mirror.place_of(real))


def in_users_terms(folder: Path, text: str) -> str:
    """A text that a trial wrote, with the user's paths in place of those in its mirror."""
    house = _address(folder)
    return text if house is None else text.replace(str(Mirror(house).root), "")


def _address(folder: Path) -> Path | None:
    path = folder / ADDRESS
    return Path(path.read_text(encoding="utf-8")) if path.is_file() else None


def _real(script: Script, cwd: Path) -> Path | None:
    return None if script.path is None else (cwd / script.path).resolve()
