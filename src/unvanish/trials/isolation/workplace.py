"""Sets up the mirror in which a trial runs, so that what it writes goes neither to the user's files nor to another trial's.

Code is compiled under the user's own paths, so records and tracebacks show those; `restore_user_paths` brings them back in other
texts."""

from __future__ import annotations

import io
import tempfile
import tokenize
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from unvanish.trials.isolation.mirror import PREFIX, Mirror, TooLarge

if TYPE_CHECKING:
    from unvanish.trials.script.execution import Script

MIRROR_PATH_FILE = "mirror.txt"  # in the trial's folder: where its mirror is, or was


def create_workplace(folder: Path, script: Script, cwd: Path) -> Mirror | None:
    """A mirror for the trial that keeps its files in `folder` and whose script is run from `cwd`.

    Where a folder on the way has too many entries, the script runs in the user's own, and only what it writes goes to the mirror.
    None where there can be none at all, so that trials share files: a folder must not be listed, or the disk refuses links.
    """
    mirror_folder = Path(tempfile.mkdtemp(prefix=PREFIX)).resolve()
    mirror, script_path = Mirror(mirror_folder), _resolved_path(script, cwd)
    try:
        mirror.create()
        with suppress(TooLarge):
            mirror.own_folder(mirror.to_mirror(cwd.resolve()))
            if script_path is not None:
                mirror.own_file(mirror.to_mirror(script_path), keep=True)
    except (TooLarge, OSError):
        mirror.remove()
        return None
    (folder / MIRROR_PATH_FILE).write_text(str(mirror_folder), encoding="utf-8")
    return mirror


def load_workplace(folder: Path) -> Mirror | None:
    """The mirror that `create_workplace` made for the trial of a folder, None where it made none."""
    mirror_folder = _mirror_folder(folder)
    return None if mirror_folder is None else Mirror(mirror_folder)


def has_workplace(folder: Path) -> bool:
    """Whether the trial that keeps its files in `folder` ran in a mirror."""
    return (folder / MIRROR_PATH_FILE).is_file()


def working_directory(mirror: Mirror | None, cwd: Path) -> Path:
    """The folder in which a trial's process is to start in place of `cwd`."""
    return cwd if mirror is None or not mirror.is_real(mirror.to_mirror(cwd.resolve())) else mirror.to_mirror(cwd.resolve())


def script_in_workplace(mirror: Mirror | None, script: Script, cwd: Path) -> Script:
    """The script as a process that started in the mirror has to run it; a relative path that leads there from `cwd` is kept."""
    real = _resolved_path(script, cwd)
    if mirror is None or real is None or script.path is None or not mirror.is_real(mirror.to_mirror(real)):
        return script
    leads_there = not script.path.is_absolute() and real == cwd.resolve() / script.path
    return script if leads_there else replace(script, path=mirror.to_mirror(real))


def put_edits(mirror: Mirror, edits: Mapping[Path, str]) -> None:
    """Writes edited texts into the mirror, where processes that the script starts find them: these read files by themselves.

    `edits` maps the user's paths to texts. A file that is too large, or a folder, to be mirrored is left as it is.
    """
    for path, text in edits.items():
        with suppress(TooLarge), mirror.updating():
            place = mirror.own_file(mirror.to_mirror(path.resolve()), keep=True)
            encoding, _ = tokenize.detect_encoding(io.BytesIO(text.encode()).readline)
            place.write_bytes(text.encode(encoding))


def restore_user_paths(folder: Path, text: str) -> str:
    """A text that the trial of a folder wrote, with the user's paths in place of those in its mirror."""
    mirror_folder = _mirror_folder(folder)
    return text if mirror_folder is None else Mirror(mirror_folder).with_user_paths(text)


def _mirror_folder(folder: Path) -> Path | None:
    path = folder / MIRROR_PATH_FILE
    return Path(path.read_text(encoding="utf-8")) if path.is_file() else None


def _resolved_path(script: Script, cwd: Path) -> Path | None:
    return None if script.path is None else (cwd / script.path).resolve()
