"""Runs a Python script in this process as `python script.py args` or `python -m module args` would. It watches nothing.

The process becomes the script's: `sys.argv`, `sys.path[0]` and `sys.modules["__main__"]` stay as the script had them, so
that its threads, worker processes, pickles and atexit handlers go on to work. One thing cannot be hidden: our frames are
below the script's, where `inspect.stack()` and a `stacklevel` beyond the script's first line find them.
"""

from __future__ import annotations

import builtins
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, MappingProxyType, ModuleType
from typing import Literal

from unvanish.errors import ScriptError
from unvanish.trials.isolation.mirror import Mirror
from unvanish.trials.isolation.overlay import laid_over, main_loader
from unvanish.trials.script.tracebacks import flush, show

JOIN_S = 0.1  # between two questions whether to wait on for a thread
INTERRUPTED = 130  # what a shell reports for a process that SIGINT ended
_NO_EDITS: Mapping[Path, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Script:
    """What to run: a file, or a module by name (exactly one of the two is given), and the arguments that it gets."""

    path: Path | None = None
    module: str | None = None
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What people call it: the path as given, or "-m module"."""
        return f"-m {self.module}" if self.path is None else str(self.path)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a script ended: the exit code that Python would give, the manner, and the exception's name ("" if there was none)."""

    code: int
    how: Literal["finished", "raised", "exited", "interrupted", "stopped"]
    exception: str = ""


def execute(
    script: Script,
    *,
    edits: Mapping[Path, str] = _NO_EDITS,
    mirror: Mirror | None = None,
    before: Callable[[], None] | None = None,
    stop: tuple[type[BaseException], ...] = (),
    enough: Callable[[], bool] = lambda: False,
) -> Ending:
    """How the script ended. Its uncaught exceptions are printed as Python prints them, and never raised here.

    `edits` are texts that replace the files they are given for. A script in a `mirror` is compiled under the user's own paths.
    `before` is called when all is set up, before the first line of the user's code. Exceptions of the types in `stop` end the
    script quietly. Threads that the script leaves are waited for until `enough` says so. A process that the script forked by
    hand leaves by SystemExit, so that nothing after this call happens twice.

    Raises ScriptError where there is no such script: for a file before anything else is done, for a module after `before`,
    since only importing the packages around it tells.
    """
    _require(script)
    process, threads = os.getpid(), set(threading.enumerate())
    with laid_over(edits, mirror):
        _set_the_stage(script)
        if before is not None:
            before()
        ending = _ending(_run(script), stop, quote_edits=bool(edits) or mirror is not None)
        if ending.how != "stopped":
            ending = _await_threads(threads, enough) or ending
    flush()
    if os.getpid() != process:
        raise SystemExit(ending.code)
    return ending


def _require(script: Script) -> None:
    """Refuses what cannot be run, without running any of the user's code."""
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


def _set_the_stage(script: Script) -> None:
    if script.path is None:
        sys.argv = ["-m", *script.arguments]
        folder = str(Path.cwd())
    else:
        sys.argv = [str(script.path), *script.arguments]
        folder = str(script.path.resolve().parent)
    if not sys.flags.safe_path:
        sys.path[0] = folder
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = builtins
    if sys.version_info < (3, 14):
        main.__annotations__ = {}
    sys.modules["__main__"] = main


def _run(script: Script) -> BaseException | None:
    """Runs the script to its end; what comes back is the exception that ended it, if one did."""
    try:
        main = sys.modules["__main__"]
        code = _load(script, main)
        exec(code, main.__dict__)
    except _NoSuchModule as fault:
        raise ScriptError(str(fault)) from None
    except BaseException as fault:
        return fault
    return None


def _ending(fault: BaseException | None, stop: tuple[type[BaseException], ...], *, quote_edits: bool) -> Ending:
    """What an exception means for the script's end. It is shown here, when none is being handled: a hook may ask for that."""
    if fault is None:
        return Ending(0, "finished")
    if isinstance(fault, stop):
        return Ending(0, "stopped")
    if isinstance(fault, SystemExit):
        return Ending(_exit_code(fault), "exited", "SystemExit")
    wish = show(fault, quote_edits=quote_edits)
    name = type(fault).__name__
    if wish is not None:
        return Ending(_exit_code(wish), "raised", name)
    if isinstance(fault, KeyboardInterrupt):
        return Ending(INTERRUPTED, "interrupted", name)
    return Ending(1, "raised", name)


def _load(script: Script, main: ModuleType) -> CodeType:
    """The code of the script; `main` gets the attributes that the interpreter gives to `__main__`."""
    if script.path is not None:
        file = str(Path.cwd() / script.path)
        loader = main_loader(file)
        main.__file__, main.__loader__ = file, loader
        main.__dict__["__cached__"] = None
        return compile(loader.get_data(file), loader.get_filename("__main__"), "exec", dont_inherit=True)
    spec, code = _find_module(script.module or "")
    main.__file__, main.__loader__, main.__spec__ = spec.origin, spec.loader, spec
    main.__package__ = spec.parent
    main.__dict__["__cached__"] = spec.cached
    sys.argv[0] = spec.origin or sys.argv[0]
    return code


class _NoSuchModule(Exception):
    """There is nothing to run under the name that was given."""


def _find_module(name: str) -> tuple[importlib.machinery.ModuleSpec, CodeType]:
    """The spec and code of a module, or of a package's `__main__`. The packages around it are imported on the way."""
    advice = f"run it from the folder that holds {name.partition('.')[0]}"
    if not name or name.startswith("."):
        raise _NoSuchModule(f"-m {name}: a module is named from its top-level package on; {advice}")
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as fault:
        if fault.name is None or not f"{name}.".startswith(f"{fault.name}."):
            raise
        raise _NoSuchModule(f"-m {name}: there is no module {fault.name}; {advice}") from None
    if spec is None:
        raise _NoSuchModule(f"-m {name}: there is no module of that name; {advice}")
    if spec.submodule_search_locations is not None:
        return _find_module(f"{name}.__main__")
    code = spec.loader.get_code(name) if isinstance(spec.loader, importlib.abc.InspectLoader) else None
    if code is None:
        raise _NoSuchModule(f"-m {name}: the module is not written in Python, so it cannot be run as a script")
    return spec, code


def _exit_code(wish: SystemExit) -> int:
    """The code that the interpreter would end with; a message that is no number goes to standard error, as there."""
    if wish.code is None:
        return 0
    if isinstance(wish.code, int):
        return wish.code
    flush()
    print(wish.code, file=sys.stderr)
    return 1


def _await_threads(known: set[threading.Thread], enough: Callable[[], bool]) -> Ending | None:
    """Waits for the threads that the script started, as the interpreter does at its end. None unless that is interrupted."""
    try:
        while started := [t for t in threading.enumerate() if t not in known and not t.daemon]:
            started[0].join(JOIN_S)
            if enough():
                break
    except KeyboardInterrupt:
        return Ending(INTERRUPTED, "interrupted", "KeyboardInterrupt")
    return None
