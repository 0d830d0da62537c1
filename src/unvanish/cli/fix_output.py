"""What `unvanish fix` prints: the plan of a race, or the result of one with its patch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from unvanish.cli.output import terminal, write_json
from unvanish.record.storage.file_names import PATCH_FILE

if TYPE_CHECKING:
    from unvanish.record.races.race_plan import RacePlan
    from unvanish.workflows.fix_script import Fix


def print_plan(plan: RacePlan, json: str | None) -> None:
    """Prints the plan of a race, and writes it as JSON where asked for."""
    from unvanish.report.json_document import build_race_plan
    from unvanish.report.terminal.race_plan import render_plan

    terminal().print(render_plan(plan))
    if json is not None:
        write_json(json, build_race_plan(plan))


def print_fix(result: Fix, folder: Path, script: str) -> None:
    """Prints the report of a fix, and its patch with the command that applies it."""
    from unvanish.report.terminal.run_report import render

    console = terminal()
    run, findings, page = result.checkup.run, result.checkup.findings, result.checkup.page
    console.print(render(run, findings, script=script, report_path=page, patch_path=folder / PATCH_FILE))
    if result.isolation:
        console.print(f"\ntrials  {result.isolation}", markup=False, soft_wrap=True)
    if result.patch:
        console.print(f"\n{result.patch}", markup=False, soft_wrap=True)
        console.print(f"patch   {folder / PATCH_FILE}          git apply {folder / PATCH_FILE}", soft_wrap=True)


def print_written(files: Sequence[Path], *, quiet: bool) -> None:
    """Names the user's files that the patch was written to."""
    for file in files if not quiet else ():
        name = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
        terminal().print(f"written {name}          git diff {name}", markup=False, soft_wrap=True)
