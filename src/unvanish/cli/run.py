"""unvanish run: watches an ordinary training script, and says what is wrong. The script's own output and exit code are its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

from unvanish.cli.live_line import LiveLine
from unvanish.cli.output import require_writable, show, write_json
from unvanish.errors import FolderTaken, UsageError
from unvanish.standard_error import is_terminal, print_to_stderr

if TYPE_CHECKING:
    from unvanish.trials import Script
    from unvanish.workflows.run_directory import Checkup, NotWatched

RUNS = Path("unvanish-runs")

_OF_RUN = frozenset({"--out", "--budget", "--every", "--max-steps", "--json"})
_OF_FIX = frozenset(
    {"--out", "--seeds", "--remedy", "--metric", "--steps", "--minutes", "--jobs", "--engine", "--address", "--json"}
)
OPTIONS_WITH_VALUE = MappingProxyType({"run": _OF_RUN, "fix": _OF_FIX})  # of the verbs that run a script or a module


def separate_module_options(arguments: list[str]) -> list[str]:
    """The command line with a `--` behind `run ... -m module`, so that the module's own options are not taken for ours."""
    with_value = OPTIONS_WITH_VALUE.get(arguments[0]) if arguments else None
    if with_value is None:
        return arguments
    position = 1
    while position < len(arguments) and arguments[position].startswith("-"):
        if arguments[position] == "-m":
            return [*arguments[: position + 2], "--", *arguments[position + 2 :]]
        position += 2 if arguments[position] in with_value else 1
    return arguments


def new_folder(name: str) -> Path:
    """A folder among the runs that does not exist yet, named after the time and what is run.

    Where the current folder cannot be written to, it is one for temporary files, which is said.
    """
    first = _runs() / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
    folder, number = first, 1
    while folder.exists():
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    if folder.is_absolute():
        print_to_stderr(f"nothing can be written to {Path.cwd()}; the run is kept in {folder}")
    return folder


def _runs() -> Path:
    """The folder of runs: in the current folder, or where that cannot be written to, among temporary files."""
    place = RUNS if RUNS.exists() else Path()
    return RUNS if place.is_dir() and os.access(place, os.W_OK | os.X_OK) else Path(tempfile.gettempdir()).absolute() / RUNS


def script_to_run(command: list[str], module: str | None, *, verb: str) -> Script:
    """What the command line of a verb asks to run. Raises UsageError where it names nothing."""
    from unvanish.trials import Script
    from unvanish.trials.script.console_scripts import find_script

    if module is not None:
        return Script(module=module, arguments=tuple(command))
    if not command:
        raise UsageError(f"name the script to {verb}: unvanish {verb} train.py [its arguments]")
    return Script(path=find_script(command[0]), arguments=tuple(command[1:]))


def run(
    command: Annotated[list[str] | None, typer.Argument(metavar="SCRIPT [ARGS]...", help="The script and its arguments.")] = None,
    module: Annotated[str | None, typer.Option("-m", metavar="MODULE", help="Run a module, as python -m does.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run; by default a new one in unvanish-runs.")] = None,
    budget: Annotated[float, typer.Option(help="Time that watching may take, in per cent.", min=0.0, max=100.0)] = 1.0,
    every: Annotated[int | None, typer.Option(help="Sample each N-th step, whatever it costs.", min=1)] = None,
    max_steps: Annotated[int | None, typer.Option(help="End the script after so many steps.", min=1)] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write the diagnosis as JSON; - is standard output.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing; only the files and the exit code.")] = False,
) -> int:
    """Watch a PyTorch training script, unmodified, and say what is wrong with it and where."""
    from unvanish.observe import Settings
    from unvanish.workflows import process_records
    from unvanish.workflows.watch_script import watch_script

    require_writable(json)
    script = script_to_run(command or [], module, verb="run")
    name, rank = module or Path(script.name).stem, process_records.launched_rank()
    settings = Settings(budget=budget / 100, every=every, max_steps=max_steps, is_one_of_many=rank is not None)
    shared = out if out is not None or rank is None else process_records.folder_of_launch(_runs(), name)
    if rank and shared is not None:
        return process_records.run_as_rank(script, shared, settings)

    line = LiveLine() if is_terminal() and not quiet else None

    def present(outcome: Checkup | NotWatched) -> None:
        if line is not None:
            line.close()
        _present(outcome, script.name, quiet=quiet, json=json)

    on_progress = line.show if line is not None else None

    def watch(folder: Path) -> int:
        return watch_script(script, folder=folder, settings=settings, present=present, on_progress=on_progress)

    return watch(shared) if shared is not None else _in_new_folder(name, watch)


def _in_new_folder(name: str, watch: Callable[[Path], int]) -> int:
    """What `watch` returns for a new folder; another process may take the same one in the same second, and then it is the next."""
    while True:
        try:
            return watch(new_folder(name))
        except FolderTaken:
            continue


def _present(outcome: Checkup | NotWatched, script_name: str, *, quiet: bool, json: str | None) -> None:
    """Shows what was seen of the script in the terminal, and writes it as JSON."""
    from unvanish.report import json_document
    from unvanish.report.terminal.run_report import render
    from unvanish.workflows.run_directory import NotWatched

    if isinstance(outcome, NotWatched):
        print_to_stderr(outcome.reason)
        document = json_document.build_not_watched(outcome.reason)
    else:
        if not quiet:
            # An empty line first: the script may have left its last line open.
            show("", render(outcome.run, outcome.findings, script=script_name, report_path=outcome.page))
        document = json_document.build_diagnosis(outcome.run, outcome.findings)
    if json is not None:
        write_json(json, document)
