"""unvanish demo: trains the demo of that name; without a name, the whole story of one network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unvanish.cli.output import require_writable, terminal, write_json
from unvanish.cli.run import new_folder
from unvanish.demos.catalogue import DEMOS, DemoEntry, find_demo
from unvanish.errors import UsageError
from unvanish.record.storage.file_names import PAGE_FILE

if TYPE_CHECKING:
    from unvanish.record.demo_result import DemoResult

NAMES = "\n\n".join(["One of:", *(f"{b.name}, {b.minutes} min: {b.summary}." for b in DEMOS.values())])
INTERRUPTED = 130
RECORD = "demo.json"


def demo(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help=NAMES)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the run; by default a new one in unvanish-runs.")] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write the figures as JSON; - is standard output.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Less of everything, for a first impression of a named demo.")] = False,
) -> int:
    """Train a demo before your eyes. Without NAME: a deep sigmoid network, why it does not learn, and which of four cures wins."""
    require_writable(json)
    if importlib.util.find_spec("sklearn") is None:
        raise UsageError("the demos train on scikit-learn's digits: pip install scikit-learn")
    if name is None:
        from unvanish.cli.demo_story import run_story

        if quick:
            raise UsageError("--quick goes with the name of a demo: unvanish demo activations --quick")
        return run_story(out, json)
    entry = find_demo(name)
    folder = out or new_folder(f"demo-{entry.name}")
    _require_folder(folder)
    return _report(_run(entry, quick=quick), folder, json)


def _run(entry: DemoEntry, *, quick: bool) -> DemoResult:
    from unvanish.cli.demo_progress import DemoBoard
    from unvanish.demos.run_demo import run_demo

    console = terminal()
    size = "a quick look" if quick else f"about {entry.minutes} min on two cores"
    console.print(f"unvanish demo {entry.name}: {entry.summary}; {size}. Ctrl-C ends it and shows what is known by then.\n")
    loaded = entry.load().quick_version() if quick else entry.load()
    with DemoBoard(console, loaded.trainings()) as board:
        return run_demo(entry.name, loaded, quick=quick, progress=board.show)


def _report(result: DemoResult, folder: Path, json: str | None) -> int:
    """Prints and writes what was measured. 0: the claim is borne out; 1: it is not; 130: Ctrl-C came first."""
    from unvanish.record.demo_result import DemoOutcome
    from unvanish.report import demo_json
    from unvanish.report.page import demo_page
    from unvanish.report.terminal.demo import render

    document = demo_json.build_document(result)
    write_json(str(folder / RECORD), document)
    page = demo_page.write_page(folder / PAGE_FILE, result)
    terminal().print(render(result, page=page))
    if json is not None:
        write_json(json, document)
    return {DemoOutcome.SHOWN: 0, DemoOutcome.NOT_SHOWN: 1, DemoOutcome.INTERRUPTED: INTERRUPTED}[result.outcome]


def _require_folder(folder: Path) -> None:
    """Makes the folder before anything is trained for it. Raises UsageError where it cannot be, or holds a run already."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise UsageError(f"{folder} cannot be written to ({fault.strerror}); choose another folder with --out") from fault
    if (folder / PAGE_FILE).exists():
        raise UsageError(f"{folder} holds another run already; choose another folder with --out")
