"""unvanish demo NAME: what it prints, what it leaves in the folder, and how it ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from demo_sizes import TOYS
from rich.console import Console

from unvanish.cli.demo_progress import DemoBoard
from unvanish.cli.main import run_app
from unvanish.demos import run_demo
from unvanish.demos.catalogue import DEMOS, DemoEntry
from unvanish.demos.demo import Demo, News
from unvanish.record.demo_result import Course, Demonstration, Ending, Standing
from unvanish.report.terminal.demo import render


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every demo at toy size, in this process."""

    def toy(billing: DemoEntry) -> Demo:
        return TOYS[billing.name]

    monkeypatch.setattr(DemoEntry, "load", toy)
    monkeypatch.setattr(run_demo, "JOBS", 1)


@dataclass
class Ended:
    """How a command line ended in this process."""

    code: int
    out: str
    err: str


def unvanish(capsys: pytest.CaptureFixture[str], *arguments: str) -> Ended:
    code = run_app([*arguments])
    out, err = capsys.readouterr()
    return Ended(code, out, err)


def test_a_named_demo_leaves_a_page_and_its_figures(toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, folder = tmp_path / "figures.json", tmp_path / "new" / "run"
    ended = unvanish(capsys, "demo", "activations", "--out", str(folder), "--json", str(place))
    assert (ended.code, ended.out) == (1, "")  # networks of three layers lose no gradient
    assert "100 %" in ended.err
    assert "NOT SHOWN" in ended.err
    assert re.search(r"sigmoid +2 ", ended.err)
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    document = json.loads(place.read_text())
    assert document == json.loads((folder / "demo.json").read_text())
    assert (document["demo"], document["standing"], document["quick"]) == ("activations", "not shown", False)


def test_a_quick_demo_says_so_everywhere(toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = unvanish(capsys, "demo", "memory", "--quick", "--out", str(tmp_path / "run"), "--json", "-")
    document = json.loads(ended.out)
    assert document["quick"]
    assert document["command"] == "unvanish demo memory --quick"
    assert "A quick run" in ended.err
    assert "A quick run" in (tmp_path / "run" / "report.html").read_text()


REFUSALS = {
    "an unknown name": (("demo", "memry"), "did you mean memory"),
    "a name like no other": (("demo", "qqq"), "The demos are activations"),
    "quick without a name": (("demo", "--quick"), "--quick goes with the name of a demo"),
    "a file that cannot be written": (("demo", "memory", "--json", "nowhere/at/all.json"), "give --json another file"),
    "a folder that cannot be made": (("demo", "memory", "--out", "/proc/run"), "choose another folder with --out"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_used_is_said_in_one_line_with_exit_code_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, words = REFUSALS[name]
    ended = unvanish(capsys, *arguments)
    (line,) = ended.err.splitlines()
    assert (ended.code, ended.out) == (2, "")
    assert line.startswith("unvanish: ")
    assert words in line


def test_a_folder_that_holds_a_run_is_refused(toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "report.html").write_text("another")
    ended = unvanish(capsys, "demo", "memory", "--out", str(tmp_path))
    assert ended.code == 2
    assert "holds another run" in ended.err


def test_help_names_every_demo_and_imports_no_torch() -> None:
    code = "import sys; from unvanish.cli.main import run_app; run_app(['demo', '--help']); sys.exit('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0
    assert all(name in ended.stdout for name in DEMOS)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", TOYS)
def test_a_demo_fits_its_terminal(name: str, width: int) -> None:
    lines = printed(performed(name), width)
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    assert any(line.startswith(("✓ SHOWN", "◐ NOT SHOWN")) for line in lines)


def test_an_interrupted_demo_says_what_it_is_missing() -> None:
    demo = TOYS["activations"]
    first, second, *_ = demo.trainings()
    courses = {first: Course(Ending.FINISHED, 5), second: Course(Ending.STOPPED, 5)}
    shown = performed("activations")
    cut = Demonstration(
        shown.name, shown.command, Standing.INTERRUPTED, False, demo.tell(courses), shown.trainings[:2], shown.facts, 3.0
    )
    text = "\n".join(printed(cut, 80))
    assert "INTERRUPTED" in text
    assert "Interrupted: the figures are those of 2 trainings" in text
    assert "not run" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_the_board_tells_how_far_the_whole_is(terminal: bool) -> None:
    trainings = TOYS["memory"].trainings()
    console = Console(record=True, force_terminal=terminal, width=80, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    with DemoBoard(console, trainings) as board:
        for training in trainings:
            board.show(News(training, 1, 2, 0.5))
            board.show(News(training, 2, 2, 0.25, Course(Ending.FINISHED, 2)))
    for thread in threading.enumerate():
        if thread.daemon:
            thread.join(timeout=5)  # rich's own, which it lets run out
    console.file.close()
    said = console.export_text()
    assert ("100 %  6 of 6 trainings" in said) is not terminal


def performed(name: str) -> Demonstration:
    return run_demo.run_demo(name, TOYS[name], jobs=1, progress=lambda _: None)


def printed(shown: Demonstration, width: int) -> list[str]:
    console = Console(width=width, force_terminal=True, color_system=None, record=True, highlight=False, quiet=False)
    with console.capture() as said:
        console.print(render(shown, page="run/report.html"))
    return [line.rstrip() for line in said.get().splitlines()]
