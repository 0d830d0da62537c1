"""unvanish fix: races the cures of an unmodified script, and hands over the winner as a patch. 0: healthy or cured, 1: not."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from unvanish.cli.output import put_json, require_place, terminal
from unvanish.cli.run import new_folder


def fix(
    command: Annotated[list[str], typer.Argument(metavar="SCRIPT [ARGS]...", help="The script and its arguments.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the result; by default a new one in unvanish-runs.")] = None,
    seeds: Annotated[int, typer.Option(help="Seeds that the leading candidates run with.", min=1)] = 3,
    remedy: Annotated[list[str] | None, typer.Option(help="A candidate to race, such as relu+he-init; may be repeated.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Trials that run at a time; by default one a core.", min=1)] = None,
    steps: Annotated[int | None, typer.Option(help="End every trial after so many steps.", min=1)] = None,
    json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write verdicts and patch as JSON; - is standard output.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing; only the files and the exit code.")] = False,
) -> int:
    """Race the cures for a PyTorch training script, unmodified, and hand over the one that was proved as a patch."""
    from unvanish.curing import PATCH, fix_script
    from unvanish.trials import Script

    require_place(json)
    script = Script(path=Path(command[0]), arguments=tuple(command[1:]))
    folder = out or new_folder(f"fix-{Path(command[0]).stem}")
    raced = partial(fix_script, script, folder=folder, seeds=seeds, remedies=remedy or (), jobs=jobs, max_steps=steps)
    if quiet or not sys.stderr.isatty():
        done = raced()
    else:
        from unvanish.cli.board import Board

        with Board(terminal(), seeds=seeds) as board:
            done = raced(progress=board.show)
    checkup = done.checkup
    if not quiet:
        from unvanish.report.terminal import render

        console = terminal()
        console.print(render(checkup.run, checkup.findings, script=script.name, report_path=checkup.page))
        if done.patch:
            console.print(f"\n{done.patch}", markup=False)
            console.print(f"patch   {folder / PATCH}          git apply {folder / PATCH}")
    if json is not None:
        from unvanish.report.json_document import diagnosis

        put_json(json, diagnosis(checkup.run, checkup.findings, patch=done.patch))
    return int(not done.cured)
