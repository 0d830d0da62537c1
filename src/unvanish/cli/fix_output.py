"""What `unvanish fix` says: the plan of a race, or what came of it. It decides nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from unvanish.cli.output import put_json, terminal

if TYPE_CHECKING:
    from unvanish.record.race_plan import RacePlan
    from unvanish.workflows.fix_script import Fix


def tell_plan(plan: RacePlan, json: str | None) -> None:
    """Prints the plan of a race, and writes it as JSON where asked for."""
    from unvanish.record.serialisation import to_plain
    from unvanish.report.terminal.race_plan import render_plan

    terminal().print(render_plan(plan))
    if json is not None:
        put_json(json, {"schema": 1, "plan": to_plain(plan)})


def tell(done: Fix, folder: Path, script: str) -> None:
    """Prints the report of a fix, and its patch with the command that applies it."""
    from unvanish.report.terminal.run_report import render
    from unvanish.workflows.fix_script import PATCH

    console = terminal()
    run, findings, page = done.checkup.run, done.checkup.findings, done.checkup.page
    console.print(render(run, findings, script=script, report_path=page, patch_path=folder / PATCH))
    if done.patch:
        console.print(f"\n{done.patch}", markup=False, soft_wrap=True)
        console.print(f"patch   {folder / PATCH}          git apply {folder / PATCH}", soft_wrap=True)
