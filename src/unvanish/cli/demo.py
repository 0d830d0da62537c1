"""unvanish demo: the whole story on real data: a network that does not learn, why, and four cures raced against it."""

from __future__ import annotations

import importlib.util
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unvanish.cli.output import put_json, require_place, terminal
from unvanish.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from unvanish.trials import News

SCRIPT = "digits_sigmoid.py"
SEEDS = 3


def demo(
    out: Annotated[Path | None, typer.Option(help="Folder for the run; by default a new one in unvanish-runs.")] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE", help="Write verdicts as JSON; - is standard output.")] = None,
) -> int:
    """A deep sigmoid network on real digits: why it does not learn, and which of four cures wins. Takes about two minutes."""
    from unvanish.clinic import race_cures
    from unvanish.report.terminal import render
    from unvanish.trials import Script

    require_place(json)
    if importlib.util.find_spec("sklearn") is None:
        raise UsageError("the demo trains on scikit-learn's digits: pip install scikit-learn")
    console = terminal()
    console.print("unvanish demo: ten sigmoid layers on scikit-learn's 1,797 handwritten digits.")
    console.print(f"The script is {SCRIPT}, plain PyTorch. First it is watched as it is, then four cures are raced against it.\n")
    folder = out or Path("unvanish-runs") / f"{datetime.now():%Y%m%d-%H%M%S}-demo"
    with _bars() as bars:
        checkup = race_cures(Script(path=example()), folder=folder, seeds=SEEDS, progress=_Board(bars).show)
    console.print(render(checkup.run, checkup.findings, script=f"examples/{SCRIPT}", report_path=checkup.page))
    if json is not None:
        from unvanish.report.json_document import diagnosis

        put_json(json, diagnosis(checkup.run, checkup.findings))
    return 0


def example() -> Path:
    """The script of the demo: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for script in (package / "examples" / SCRIPT, package.parents[1] / "examples" / SCRIPT):
        if script.is_file():
            return script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script
    raise UsageError(f"{SCRIPT} is not where it was installed ({package / 'examples'}); install unvanish again")


def _bars() -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[news]}"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=terminal())


class _Board:
    """One bar for watching, then one for each seed of each candidate's trials together."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._ended: dict[str, set[int]] = {}

    def show(self, news: News) -> None:
        """Takes in what is known of one trial."""
        watching = news.total == 1
        name = "watching it as it is" if watching else news.trial.name
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=1 if watching else SEEDS, news="")
        ended = self._ended.setdefault(name, set())
        if news.result is not None:
            ended.add(news.trial.seed)
        told = f"seed {news.trial.seed}  step {news.step}  loss {news.loss:.3f}"
        self._bars.update(self._tasks[name], completed=len(ended), news=told)
