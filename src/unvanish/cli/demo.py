"""unvanish demo: what the package claims, trained before your eyes. Without a name, the whole story of one network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unvanish.cli.output import put_json, require_place, terminal
from unvanish.cli.run import new_folder
from unvanish.demos.catalogue import DEMOS, DemoEntry, find
from unvanish.errors import UsageError

if TYPE_CHECKING:
    from unvanish.record.demo_result import Demonstration

NAMES = "\n\n".join(["One of:", *(f"{b.name}, {b.minutes} min: {b.summary}." for b in DEMOS.values())])
INTERRUPTED = 130
PAGE, RECORD = "report.html", "demo.json"


def demo(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help=NAMES)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run; by default a new one in unvanish-runs.")] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write the figures as JSON; - is standard output.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Less of everything, for a first impression of a named demo.")] = False,
) -> int:
    """Train a demo before your eyes. Without NAME: a deep sigmoid network, why it does not learn, and which of four cures wins."""
    require_place(json)
    if importlib.util.find_spec("sklearn") is None:
        raise UsageError("the demos train on scikit-learn's digits: pip install scikit-learn")
    if name is None:
        from unvanish.cli.demo_story import tell

        if quick:
            raise UsageError("--quick goes with the name of a demo: unvanish demo activations --quick")
        return tell(out, json)
    billing = find(name)
    folder = out or new_folder(f"demo-{billing.name}")
    _require_folder(folder)
    return _show(_performed(billing, quick=quick), folder, json)


def _performed(billing: DemoEntry, *, quick: bool) -> Demonstration:
    from unvanish.cli.demo_progress import DemoBoard
    from unvanish.demos.run_demo import run_demo

    console = terminal()
    size = "a quick look" if quick else f"about {billing.minutes} min on two cores"
    console.print(f"unvanish demo {billing.name}: {billing.summary}; {size}. Ctrl-C ends it and shows what is known by then.\n")
    staged = billing.load().quick() if quick else billing.load()
    with DemoBoard(console, staged.trainings()) as board:
        return run_demo(billing.name, staged, quick=quick, progress=board.show)


def _show(shown: Demonstration, folder: Path, json: str | None) -> int:
    """Prints and writes what was measured. 0: the claim is borne out; 1: it is not; 130: Ctrl-C came first."""
    from unvanish.record.demo_result import Standing
    from unvanish.report import demo_json
    from unvanish.report.page import demo_page
    from unvanish.report.terminal.demo import render

    document = demo_json.document(shown)
    put_json(str(folder / RECORD), document)
    page = demo_page.write(folder / PAGE, shown)
    terminal().print(render(shown, page=page))
    if json is not None:
        put_json(json, document)
    return {Standing.SHOWN: 0, Standing.NOT_SHOWN: 1, Standing.INTERRUPTED: INTERRUPTED}[shown.standing]


def _require_folder(folder: Path) -> None:
    """Makes the folder before anything is trained for it. Raises UsageError where it cannot be, or holds a run already."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise UsageError(f"{folder} cannot be written to ({fault.strerror}); choose another folder with --out") from fault
    if (folder / PAGE).exists():
        raise UsageError(f"{folder} holds another run already; choose another folder with --out")
