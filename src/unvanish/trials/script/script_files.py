"""Says what script is to be run, and finds its file without running any of the user's code."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from unvanish.errors import ScriptError
from unvanish.project_files import find_top_level_spec


@dataclass(frozen=True, slots=True)
class Script:
    """What to run: a file, or a module by name (exactly one of the two is given), and the arguments that it gets.

    Example:
        >>> Script(Path("train.py"), arguments=("--lr", "0.1")).name
        'train.py'
        >>> Script(module="package.train").name
        '-m package.train'
    """

    path: Path | None = None
    module: str | None = None
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What people call it: the path as given, or "-m module"."""
        return f"-m {self.module}" if self.path is None else str(self.path)


def require_script(script: Script) -> None:
    """Raises ScriptError where there is no file to run, or it cannot be read; of a module only its import tells."""
    path = script.path
    if (path is None) == (script.module is None):
        raise ScriptError("give either a script's file or a module's name, and not both")
    if path is None:
        return
    if path.is_dir():
        raise ScriptError(f"{path} is a folder; give the training script inside it")
    if not path.is_file():
        raise ScriptError(f"{path}: no such file here ({Path.cwd()}); check the name, or go to the folder that it is in")
    if not os.access(path, os.R_OK):
        raise ScriptError(f"{path} cannot be read; check its permissions")


def find_script_file(script: Script, cwd: Path) -> Path | None:
    """The file that is run; None for a module in an archive or without a file. Nothing is imported.

    Raises ScriptError where there is none.
    """
    require_script(script)
    if script.path is not None:
        return cwd / script.path
    name = script.module or ""
    if not name or name.startswith("."):
        raise ScriptError(f"-m {name}: a module is named from its top-level package on")
    spec = _find_spec(name, cwd)
    if spec.submodule_search_locations is not None:
        spec = _find_spec(f"{name}.__main__", cwd)
    return Path(spec.origin) if spec.has_location and spec.origin else None


def _find_spec(name: str, cwd: Path) -> ModuleSpec:
    parent, _, last = name.rpartition(".")
    if parent:  # searched without the parent's name, for which a namespace package would ask sys.modules
        spec = PathFinder.find_spec(last, list(_find_spec(parent, cwd).submodule_search_locations or ()))
    else:
        spec = find_top_level_spec(name, cwd)
    if spec is None:
        raise ScriptError(f"there is no module {name} here ({cwd}); go to the folder that holds {name.partition('.')[0]}")
    return spec
