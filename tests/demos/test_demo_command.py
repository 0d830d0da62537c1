"""Tests of `unvanish demo NAME`: what it prints, which files it writes, and its exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from demo_sizes import TOYS
from rich.console import Console

from unvanish.cli.demo_progress import DemoBoard
from unvanish.cli.main import run_app
from unvanish.demos import run_demo
from unvanish.demos.catalogue import DEMOS, DemoEntry
from unvanish.demos.demo import Demo, TrainingProgress
from unvanish.record.demo_result import DemoOutcome, DemoResult, TrainingEnding, TrainingResult
from unvanish.report.terminal.demo import render


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every demo at toy size, in this process."""

    def toy(entry: DemoEntry) -> Demo:
        return TOYS[entry.name]

    monkeypatch.setattr(DemoEntry, "load", toy)
    monkeypatch.setattr(run_demo, "DEFAULT_JOBS", 1)


@dataclass
class CommandResult:
    """The exit code and output of a command line run in this process."""

    code: int
    out: str
    err: str


def unvanish(capsys: pytest.CaptureFixture[str], *arguments: str) -> CommandResult:
    code = run_app([*arguments])
    out, err = capsys.readouterr()
    return CommandResult(code, out, err)


def test_a_named_demo_writes_a_page_and_its_numbers(toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    json_file, folder = tmp_path / "figures.json", tmp_path / "new" / "run"
    result = unvanish(capsys, "demo", "activations", "--out", str(folder), "--json", str(json_file))
    assert (result.code, result.out) == (1, "")  # networks of three layers lose no gradient
    assert "100 %" in result.err
    assert "NOT SHOWN" in result.err
    assert re.search(r"sigmoid +2 ", result.err)
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    document = json.loads(json_file.read_text())
    assert document == json.loads((folder / "demo.json").read_text())
    assert (document["demo"], document["standing"], document["quick"]) == ("activations", "not shown", False)


def test_a_quick_demo_says_so_everywhere(toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = unvanish(capsys, "demo", "memory", "--quick", "--out", str(tmp_path / "run"), "--json", "-")
    document = json.loads(result.out)
    assert document["quick"]
    assert document["command"] == "unvanish demo memory --quick"
    assert "A quick run" in result.err
    assert "A quick run" in (tmp_path / "run" / "report.html").read_text()


REFUSALS = {
    "an unknown name": (("demo", "memry"), "did you mean memory"),
    "a name like no other": (("demo", "qqq"), "The demos are activations"),
    "quick without a name": (("demo", "--quick"), "--quick goes with the name of a demo"),
    "a file that cannot be written": (("demo", "memory", "--json", "nowhere/at/all.json"), "give --json another file"),
    "a folder that cannot be made": (("demo", "memory", "--out", "/proc/run"), "choose another folder with --out"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_usage_error_is_one_line_with_exit_code_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, message = REFUSALS[name]
    result = unvanish(capsys, *arguments)
    (line,) = result.err.splitlines()
    assert (result.code, result.out) == (2, "")
    assert line.startswith("unvanish: ")
    assert message in line


def test_a_folder_with_another_run_is_refused(toys: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "report.html").write_text("another")
    result = unvanish(capsys, "demo", "memory", "--out", str(tmp_path))
    assert result.code == 2
    assert "holds another run" in result.err


def test_help_names_every_demo_and_imports_no_torch() -> None:
    code = "import sys; from unvanish.cli.main import run_app; run_app(['demo', '--help']); sys.exit('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    assert all(name in result.stdout for name in DEMOS)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", TOYS)
def test_a_demo_fits_its_terminal(name: str, width: int) -> None:
    lines = render_lines(run_toy_demo(name), width)
    assert max(map(len, lines)) <= width
    assert not any("…" in line for line in lines)
    assert any(line.startswith(("✓ SHOWN", "◐ NOT SHOWN")) for line in lines)


def test_an_interrupted_demo_names_the_trainings_that_are_missing() -> None:
    demo = TOYS["activations"]
    first, second, *_ = demo.trainings()
    results = {first: TrainingResult(TrainingEnding.FINISHED, 5), second: TrainingResult(TrainingEnding.STOPPED, 5)}
    finished = run_toy_demo("activations")
    outcome, summary, trainings = DemoOutcome.INTERRUPTED, demo.summarise(results), finished.trainings[:2]
    interrupted = replace(finished, outcome=outcome, summary=summary, trainings=trainings, seconds=3.0)
    text = "\n".join(render_lines(interrupted, 80))
    assert "INTERRUPTED" in text
    assert "Interrupted: the figures are those of 2 trainings" in text
    assert "not run" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_the_progress_display_shows_the_share_of_all_trainings(terminal: bool) -> None:
    trainings = TOYS["memory"].trainings()
    console = Console(record=True, force_terminal=terminal, width=80, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    with DemoBoard(console, trainings) as board:
        for training in trainings:
            board.show(TrainingProgress(training, 1, 2, 0.5))
            board.show(TrainingProgress(training, 2, 2, 0.25, TrainingResult(TrainingEnding.FINISHED, 2)))
    for thread in threading.enumerate():
        if thread.daemon:
            thread.join(timeout=5)  # rich's own, which it lets run out
    console.file.close()
    text = console.export_text()
    assert ("100 %  6 of 6 trainings" in text) is not terminal


def run_toy_demo(name: str) -> DemoResult:
    return run_demo.run_demo(name, TOYS[name], jobs=1, progress=lambda _: None)


def render_lines(demo_result: DemoResult, width: int) -> list[str]:
    console = Console(width=width, force_terminal=True, color_system=None, record=True, highlight=False, quiet=False)
    with console.capture() as capture:
        console.print(render(demo_result, page="run/report.html"))
    return [line.rstrip() for line in capture.get().splitlines()]
