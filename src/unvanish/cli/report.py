"""unvanish report: opens a stored run again, on any machine, with or without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unvanish.cli.output import require_writable, show, write_json


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, or its run.sqlite.")],
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write the diagnosis as JSON; - is standard output.")] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the page there.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing; only the files.")] = False,
) -> int:
    """Show the report of a stored run again."""
    from unvanish.examination import with_prediction
    from unvanish.plugins.rules import diagnose
    from unvanish.record.storage.journal import load
    from unvanish.record.storage.run_folder import load_folder
    from unvanish.report.page import run_page
    from unvanish.report.terminal.run_report import render

    require_writable(json)
    record = with_prediction(load_folder(run) if run.is_dir() else load(run))
    findings = diagnose(record)
    if html is not None:
        run_page.write_page(html, record, findings)
    if not quiet:
        show(render(record, findings, script=record.facts.script, report_path=html))
    if json is not None:
        from unvanish.report.json_document import build_diagnosis

        write_json(json, build_diagnosis(record, findings))
    return 0
