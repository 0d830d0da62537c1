"""Runs a Python script in this process as `python script.py args` or `python -m module args` would.

The process becomes the script's: `sys.argv`, `sys.path[0]` and `sys.modules["__main__"]` stay as the script had them, so
that its threads, worker processes, pickles and atexit handlers go on to work. One thing cannot be hidden: the frames of this
package are below the script's, where `inspect.stack()` and a `stacklevel` beyond the script's first line find them."""

from __future__ import annotations

import builtins
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, MappingProxyType, ModuleType
from typing import Literal

from unvanish.errors import ScriptError
from unvanish.project_files import ProjectFiles, find_project, running_project
from unvanish.standard_error import write_to_stderr
from unvanish.trials.isolation.mirror import Mirror
from unvanish.trials.isolation.overlay import main_loader, overlay_sources
from unvanish.trials.script.script_files import Script, require_script
from unvanish.trials.script.tracebacks import flush_output, print_exception

JOIN_S = 0.1  # interval at which `stop_waiting` is asked
INTERRUPTED = 130  # what a shell reports for a process that SIGINT ended
_NO_EDITS: Mapping[Path, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ScriptExit:
    """How a script ended.

    Arguments:
        code: the exit code that Python would give.
        reason: "finished" (ran to its end), "raised" (an uncaught exception), "exited" (`sys.exit` or `os._exit`), "interrupted"
            (Ctrl-C), "stopped" (one of the exceptions that `execute` was told to take for a planned stop).
        exception: class name of the exception that ended it, "" if there was none.
    """

    code: int
    reason: Literal["finished", "raised", "exited", "interrupted", "stopped"]
    exception: str = ""

    @property
    def exit_status(self) -> int:
        """The exit code, 0..255 or larger as the script gave it; where Ctrl-C ended it, the signal's number, negative.

        Example:
            >>> ScriptExit(-1, "exited").exit_status, ScriptExit(INTERRUPTED, "interrupted").exit_status
            (255, -2)
        """
        if self.reason == "interrupted":
            return -signal.SIGINT
        return self.code & 0xFF if self.code < 0 else self.code

    @property
    def ending(self) -> str:
        """The end in a word or two, as a run's record has it: the exception's name, "exit code 3", or the reason.

        Example:
            >>> ScriptExit(0, "exited", "SystemExit").ending, ScriptExit(3, "exited", "SystemExit").ending
            ('finished', 'exit code 3')
        """
        if self.reason == "exited":
            return f"exit code {self.code}" if self.code else "finished"
        return self.exception or self.reason


def execute(
    script: Script,
    *,
    edits: Mapping[Path, str] = _NO_EDITS,
    mirror: Mirror | None = None,
    before_run: Callable[[], None] | None = None,
    stop_exceptions: tuple[type[BaseException], ...] = (),
    stop_waiting: Callable[[], bool] = lambda: False,
) -> ScriptExit:
    """How the script ended. Its uncaught exceptions are printed as Python prints them, and never raised here.

    Arguments:
        script: what to run.
        edits: texts that replace, in memory, the files they are given for.
        mirror: the mirror of the user's folders in which the script lies; it is compiled under the user's own paths.
        before_run: called when everything is prepared, before the first line of the user's code.
        stop_exceptions: exception types that end the script without a traceback, as a planned stop.
        stop_waiting: asked every 0.1 s whether to stop waiting for threads that the script left running; by default they are waited
            for as Python does.

    A process that the script forked by hand leaves by SystemExit, so that nothing after this call happens twice.

    Raises ScriptError where there is no such script: for a file before anything else is done, for a module after `before_run`,
    since only importing the packages around it tells.

    Example:
        >>> ending = execute(Script(Path("train.py"), arguments=("--lr", "0.1")))  # doctest: +SKIP
        >>> sys.exit(ending.code)  # doctest: +SKIP
    """
    require_script(script)
    process, threads = os.getpid(), set(threading.enumerate())
    with overlay_sources(edits, mirror), running_project(_find_project(script, mirror)):
        _prepare_main_module(script)
        if before_run is not None:
            before_run()
        ending = _interpret(_run(script), stop_exceptions, quote_edits=bool(edits) or mirror is not None)
        if ending.reason != "stopped":
            ending = _join_threads(threads, stop_waiting) or ending
    flush_output()
    if os.getpid() != process:
        raise SystemExit(ending.code)
    return ending


def _find_project(script: Script, mirror: Mirror | None) -> ProjectFiles:
    """The project of the script, by the user's own paths."""
    cwd, path = Path.cwd(), script.path
    if mirror is not None:
        cwd, path = mirror.to_original(cwd), None if path is None else mirror.to_original(path)
    return find_project(path, script.module, cwd)


def _prepare_main_module(script: Script) -> None:
    """Sets `sys.argv`, `sys.path[0]` and an empty `__main__` as the interpreter does at its start."""
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
    """The exception that ended the script, None where it ran to its end."""
    try:
        main = sys.modules["__main__"]
        code = _load(script, main)
        exec(code, main.__dict__)
    except _ModuleNotRunnable as fault:
        raise ScriptError(str(fault)) from None
    except BaseException as fault:
        return fault
    return None


def _interpret(fault: BaseException | None, stop_exceptions: tuple[type[BaseException], ...], *, quote_edits: bool) -> ScriptExit:
    """What an exception means for the script's end. It is printed while no exception is being handled, as a hook may expect."""
    if fault is None:
        return ScriptExit(0, "finished")
    if isinstance(fault, stop_exceptions):
        return ScriptExit(0, "stopped")
    if isinstance(fault, SystemExit):
        return ScriptExit(_exit_code(fault), "exited", "SystemExit")
    exit_request = print_exception(fault, quote_edits=quote_edits)
    name = type(fault).__name__
    if exit_request is not None:
        return ScriptExit(_exit_code(exit_request), "raised", name)
    if isinstance(fault, KeyboardInterrupt):
        return ScriptExit(INTERRUPTED, "interrupted", name)
    return ScriptExit(1, "raised", name)


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


class _ModuleNotRunnable(Exception):
    """There is nothing to run under the name that was given."""


def _find_module(name: str) -> tuple[importlib.machinery.ModuleSpec, CodeType]:
    """The spec and code of a module, or of a package's `__main__`. The packages around it are imported on the way."""
    advice = f"run it from the folder that holds {name.partition('.')[0]}"
    if not name or name.startswith("."):
        raise _ModuleNotRunnable(f"-m {name}: a module is named from its top-level package on; {advice}")
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as fault:
        if fault.name is None or not f"{name}.".startswith(f"{fault.name}."):
            raise
        raise _ModuleNotRunnable(f"-m {name}: there is no module {fault.name}; {advice}") from None
    if spec is None:
        raise _ModuleNotRunnable(f"-m {name}: there is no module of that name; {advice}")
    if spec.submodule_search_locations is not None:
        return _find_module(f"{name}.__main__")
    code = spec.loader.get_code(name) if isinstance(spec.loader, importlib.abc.InspectLoader) else None
    if code is None:
        raise _ModuleNotRunnable(f"-m {name}: the module is not written in Python, so it cannot be run as a script")
    return spec, code


def _exit_code(exit_request: SystemExit) -> int:
    """The code that the interpreter would end with; a message that is no number goes to standard error, as there."""
    if exit_request.code is None:
        return 0
    if isinstance(exit_request.code, int):
        return exit_request.code
    flush_output()
    with suppress(Exception):  # as there, also where the message itself cannot be made into text
        write_to_stderr(f"{exit_request.code}\n")
    return 1


def _join_threads(known: set[threading.Thread], stop_waiting: Callable[[], bool]) -> ScriptExit | None:
    """Waits for the threads that the script started, as the interpreter does at its end. None unless that is interrupted."""
    executors = threading.Thread(target=_end_executors, name="unvanish-end-executors", daemon=True)
    executors.start()
    try:
        while started := [t for t in threading.enumerate() if t is executors or (t not in known and not t.daemon)]:
            started[0].join(JOIN_S)
            if stop_waiting():
                break
    except KeyboardInterrupt:
        return ScriptExit(INTERRUPTED, "interrupted", "KeyboardInterrupt")
    return None


def _end_executors() -> None:
    """Runs what the interpreter runs before it waits for threads: by it idle threads of `concurrent.futures` end, which never would
    by themselves. Each callback runs once, the last registered first."""
    callbacks: list[Callable[[], object]] = getattr(threading, "_threading_atexits", [])
    while callbacks:
        callbacks.pop()()
