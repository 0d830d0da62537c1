"""unvanish fix: races the cures of an unmodified script, and writes the winner as a patch. 0: healthy or cured, 1: not."""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from unvanish.cli.fix_output import print_fix, print_plan, print_written
from unvanish.cli.output import require_writable, terminal, write_json
from unvanish.cli.race_board import race_display
from unvanish.cli.run import new_folder, script_to_run
from unvanish.errors import UsageError

SCRIPT_HELP = "The script and its arguments."


def fix(
    command: Annotated[list[str] | None, typer.Argument(metavar="SCRIPT [ARGS]...", help=SCRIPT_HELP)] = None,
    module: Annotated[str | None, typer.Option("-m", metavar="MODULE", help="Fix a module, run as python -m does.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the result; by default a new one in unvanish-runs.")] = None,
    seeds: Annotated[int, typer.Option(help="Seeds that the leading candidates run with.", min=1)] = 3,
    remedy: Annotated[list[str] | None, typer.Option(help="A candidate to race, such as relu+he-init; may be repeated.")] = None,
    metric: Annotated[str | None, typer.Option(help="The figure to compare by, such as val_accuracy or loss.")] = None,
    steps: Annotated[int | None, typer.Option(help="End every trial after so many steps.", min=1)] = None,
    minutes: Annotated[float | None, typer.Option(help="End the race after so many minutes.", min=0.01)] = None,
    full: Annotated[bool, typer.Option("--full", help="Train every candidate to its end with every seed.")] = False,
    jobs: Annotated[int | None, typer.Option(help="Trials that run at a time; by default as the cores allow.", min=1)] = None,
    engine: Annotated[str, typer.Option(help="Where trials run: see unvanish list engines.")] = "local",
    address: Annotated[str | None, typer.Option(help="The cluster, for an engine that has one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be tried, and its cost.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the race in --out that was ended early.")] = False,
    put: Annotated[bool, typer.Option("--write", help="Apply the patch to the files; asks for a clean git tree.")] = False,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write verdicts and patch as JSON; - is stdout.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing; only the files and the exit code.")] = False,
) -> int:
    """Race the cures for a PyTorch training script, unmodified, and hand over the one that was proved as a patch."""
    from unvanish.plugins.engines import EngineOptions, open_engine
    from unvanish.plugins.rules import diagnose
    from unvanish.trials.script.script_files import find_script_file
    from unvanish.workflows.fix_script import FixCallbacks, FixOptions, fix_script, plan_script
    from unvanish.workflows.git import require_clean, write_files

    require_writable(json)
    script = script_to_run(command or [], module, verb="fix")
    file = find_script_file(script, Path.cwd())
    if resume and out is None:
        raise UsageError("--resume goes on with a race that was ended early: name its folder with --out")
    checked = require_clean(Path.cwd(), [file] if file is not None else []) if put else None
    board = race_display(terminal(), quiet=quiet)
    deadline = time.monotonic() + minutes * 60 if minutes else math.inf
    remedies = tuple(remedy or ())
    options = FixOptions(seeds=seeds, remedies=remedies, max_steps=steps, metric=metric, deadline=deadline, full=full)
    engine_options = EngineOptions(diagnose, jobs=jobs, on_event=board.on_event, deadline=deadline, address=address)
    callbacks = FixCallbacks(board.on_part, board.on_plan)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what Ctrl-C ends and keeps, a plain kill does too
    with board, open_engine(engine, engine_options) as opened:
        if dry_run:
            print_plan(plan_script(script, engine=opened, options=options, callbacks=callbacks), json)
            return 0
        folder = out or new_folder(f"fix-{module or Path(script.name).stem}")
        result = fix_script(script, folder=folder, engine=opened, options=options, callbacks=callbacks, resume=resume)
    if not quiet:
        print_fix(result, folder, script.name)
    if json is not None:
        from unvanish.report.json_document import build_diagnosis

        write_json(json, build_diagnosis(result.checkup.run, result.checkup.findings, patch=result.patch))
    if checked is not None and result.edits:
        print_written(write_files(dict(result.edits), checked), quiet=quiet)
    return int(not result.cured)
