"""unvanish check: examines a network before any training. Exit code 0: nothing found, 1: something, 2: no check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unvanish.cli.output import require_writable, show, write_json
from unvanish.cli.run import new_folder


def check(
    factory: Annotated[
        str, typer.Argument(metavar="FILE.py:FACTORY", help="FACTORY() returns the network, its inputs, and a loss or targets.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for the result; by default a new one in unvanish-runs.")] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write the diagnosis as JSON; - is standard output.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing; only the files and the exit code.")] = False,
) -> int:
    """Look at a network before any training: where its gradient goes, what theory says, what is wrong."""
    from unvanish.workflows.check import check_factory

    require_writable(json)
    stem = Path(factory.rpartition(":")[0]).stem
    folder = out or new_folder(f"check-{stem}")
    checkup = check_factory(factory, folder=folder)
    if not quiet:
        from unvanish.report.terminal.run_report import render

        name = Path(factory.rpartition(":")[0]).name
        show(render(checkup.run, checkup.findings, script=name, report_path=checkup.page))
    if json is not None:
        from unvanish.report.json_document import build_diagnosis

        write_json(json, build_diagnosis(checkup.run, checkup.findings))
    return int(any(finding.severity.loud for finding in checkup.findings))
