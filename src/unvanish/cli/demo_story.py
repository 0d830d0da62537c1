"""unvanish demo without a name: watches a network that does not learn on real data, says why, and races four cures."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from unvanish.cli.output import terminal, write_json
from unvanish.cli.race_board import race_display
from unvanish.errors import UsageError

SCRIPT = "digits_sigmoid.py"
SEEDS = 3
CURES = ("relu+he-init", "batchnorm", "elu", "glorot-init")


def run_story(out: Path | None, json: str | None) -> int:
    """Watches the script, races the cures and prints the result; always 0."""
    from unvanish.plugins.engines import EngineOptions, open_engine
    from unvanish.plugins.rules import diagnose
    from unvanish.report.terminal.run_report import render
    from unvanish.trials import Script
    from unvanish.workflows.fix_script import FixCallbacks, FixOptions, fix_script

    console = terminal()
    console.print("unvanish demo: ten sigmoid layers on scikit-learn's 1,797 handwritten digits.")
    console.print(f"The script is {SCRIPT}, plain PyTorch. First it is watched as it is, then four cures are raced against it.\n")
    folder = out or Path("unvanish-runs") / f"{datetime.now():%Y%m%d-%H%M%S}-demo"
    board = race_display(console)
    options, callbacks = FixOptions(seeds=SEEDS, remedies=CURES), FixCallbacks(board.on_part, board.on_plan)
    with board, open_engine("local", EngineOptions(diagnose, on_event=board.on_event)) as engine:
        script = Script(path=example_script())
        checkup = fix_script(script, folder=folder, engine=engine, options=options, callbacks=callbacks).checkup
    console.print(render(checkup.run, checkup.findings, script=f"examples/{SCRIPT}", report_path=checkup.page))
    if json is not None:
        from unvanish.report.json_document import build_diagnosis

        write_json(json, build_diagnosis(checkup.run, checkup.findings))
    return 0


def example_script() -> Path:
    """The script of the demo: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for script in (package / "examples" / SCRIPT, package.parents[1] / "examples" / SCRIPT):
        if script.is_file():
            return script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script
    raise UsageError(f"{SCRIPT} is not where it was installed ({package / 'examples'}); install unvanish again")
