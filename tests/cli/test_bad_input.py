"""What cannot be used is said in one clear line on standard error, with exit code 2; a script that fails keeps its own."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from child_processes import Nursery, environment, write
from scripts import START, loop


def nothing(_: Path) -> None:
    """A folder without anything in it."""


def script(text: str) -> Callable[[Path], None]:
    return lambda folder: write(folder / "train.py", text)


def a_run_already(folder: Path) -> None:
    write(folder / "train.py", loop(1))
    write(folder / "run" / "run.sqlite", "")


def a_file_in_the_way(folder: Path) -> None:
    write(folder / "train.py", loop(1))
    write(folder / "run", "")


def cut_short(folder: Path) -> None:
    connection = sqlite3.connect(folder / "run.sqlite")
    connection.execute("CREATE TABLE numbers (n INTEGER)")
    connection.executemany("INSERT INTO numbers VALUES (?)", ((n,) for n in range(5000)))
    connection.execute("PRAGMA application_id = 0x756E7661")
    connection.commit()
    connection.close()
    with (folder / "run.sqlite").open("r+b") as file:
        file.truncate(8192)


def another_database(folder: Path) -> None:
    connection = sqlite3.connect(folder / "run.sqlite")
    connection.execute("CREATE TABLE numbers (n INTEGER)")
    connection.commit()
    connection.close()


def no_database(folder: Path) -> None:
    write(folder / "run.sqlite", "this is a letter to my aunt\n" * 50)


RUN = ("run", "--out", "run")
# What is there, the command line, and words that the line must hold: what was wrong, and what to do.
REFUSALS: dict[str, tuple[Callable[[Path], None], tuple[str, ...], tuple[str, ...]]] = {
    "no such script": (nothing, (*RUN, "train.py"), ("train.py: no such file", "check the name")),
    "a folder": (lambda folder: (folder / "src").mkdir(), (*RUN, "src"), ("src is a folder", "give the training script")),
    "no script named": (nothing, RUN, ("name the script", "unvanish run train.py")),
    "no such module": (nothing, (*RUN, "-m", "nowhere"), ("-m nowhere", "no module")),
    "no script to fix": (nothing, ("fix", "nothere.py"), ("nothere.py: no such file", "check the name")),
    "no script to fix named": (nothing, ("fix",), ("name the script", "unvanish fix train.py")),
    "no module to fix": (script(loop(1)), ("fix", "--dry-run", "-m", "train.net", "--lr", "1"), ("no module train.net", "go to")),
    "no git to write to": (script(loop(1)), ("fix", "--write", "train.py"), ("in no git tree", "git init")),
    "an unknown option": (script(loop(1)), ("run", "--fast", "train.py"), ("--fast",)),
    "an unknown verb": (nothing, ("cure", "train.py"), ("cure",)),
    "a budget that is no number": (script(loop(1)), (*RUN, "--budget", "much", "train.py"), ("--budget", "valid number")),
    "a budget over all": (script(loop(1)), (*RUN, "--budget", "101", "train.py"), ("--budget", "100")),
    "each zeroth step": (script(loop(1)), (*RUN, "--every", "0", "train.py"), ("--every", "or equal to 1")),
    "no steps at all": (script(loop(1)), (*RUN, "--max-steps", "0", "train.py"), ("--max-steps", "or equal to 1")),
    "an option without its value": (script(loop(1)), ("run", "--out"), ("--out",)),
    "a file where the folder should be": (a_file_in_the_way, (*RUN, "train.py"), ("run cannot be written", "--out")),
    "a folder that cannot be made": (script(loop(1)), ("run", "--out", "/proc/run", "train.py"), ("/proc/run", "--out")),
    "a folder that holds a run": (a_run_already, (*RUN, "train.py"), ("run holds another run", "--out")),
    "no such run": (nothing, ("report", "nowhere"), ("nowhere: no such run", "run.sqlite")),
    "a folder without a run": (nothing, ("report", "."), ("run.sqlite: no such run",)),
    "a run cut short": (cut_short, ("report", "."), ("run.sqlite",)),
    "another program's database": (another_database, ("report", "."), ("not a run of unvanish",)),
    "no database at all": (no_database, ("report", "run.sqlite"), ("not a readable run",)),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_used_is_said_in_one_line_with_exit_code_2(name: str, tmp_path: Path, nursery: Nursery) -> None:
    prepare, arguments, words = REFUSALS[name]
    prepare(tmp_path)
    ended = nursery.unvanish(tmp_path, *arguments)
    assert (ended.code, ended.out) == (2, b"")
    assert arguments[0] != "fix" or {path.name for path in tmp_path.iterdir()} <= {"train.py", ".out", ".err"}
    (line,) = ended.lines
    assert line.startswith("unvanish: ")
    for word in words:
        assert word in line


# Scripts that end well and train no network, and words of the line that says why nothing was seen.
UNWATCHED: dict[str, tuple[str, tuple[str, ...]]] = {
    "no torch": ("", ("did not import torch",)),
    "only forward": (START + "model(x)", ("made no backward pass", "arguments for the script")),
    "no module": ("import torch\nw = torch.ones(3, requires_grad=True)\nw.sum().backward()", ("no torch.nn.Module",)),
    "bare tensors and an optimizer": (
        "import torch\nw = torch.ones(3, requires_grad=True)\nsgd = torch.optim.SGD([w], lr=0.1)\n"
        "for _ in range(3):\n    w.sum().backward()\n    sgd.step()",
        ("no torch.nn.Module",),
    ),
    "gradients that are given back": (
        START + "torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))",
        ("torch.autograd.grad",),
    ),
    "an early end": ("import torch, sys\nsys.exit()", ("made no backward pass",)),
    "an end past Python's own": ("import torch, os\nprint('kept', flush=True)\nos._exit(0)", ("made no backward pass",)),
}


@pytest.mark.parametrize("name", UNWATCHED)
def test_a_script_of_which_nothing_can_be_watched_keeps_its_output_and_code_and_one_line_says_why(
    name: str, tmp_path: Path, nursery: Nursery
) -> None:
    text, words = UNWATCHED[name]
    write(tmp_path / "train.py", f"print('begun', flush=True)\n{text}\nprint('done')")
    command = [str(Path(sys.executable).with_name("unvanish")), "run", "--json", "out.json", "train.py"]
    alone = nursery.python(tmp_path, "train.py")
    if name == "no torch":  # the nursery has torch imported
        process = subprocess.run(command, cwd=tmp_path, capture_output=True, env=environment(), timeout=60)
        code, out, lines = process.returncode, process.stdout, process.stderr.decode().splitlines()
    else:
        ended = nursery.run(tmp_path, "--json", "out.json", "train.py")
        code, out, lines = ended.code, ended.out, ended.lines
    assert (code, out) == (0, alone.out)
    (line,) = lines
    assert line.startswith("unvanish: nothing of train.py could be watched: ")
    assert all(word in line for word in words)
    document = json.loads((tmp_path / "out.json").read_text())
    assert (document["state"], document["healthy"], document["steps"]) == ("too-little-seen", False, 0)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "unvanish-runs").exists()


FAILURES = {
    "an exception": ("import torch\n1 / 0", 1, "ZeroDivisionError: division by zero"),
    "a usage message": ("import sys\nsys.exit('usage: train.py --data DIR')", 1, "usage: train.py --data DIR"),
    "a code": ("import torch, argparse\nargparse.ArgumentParser().parse_args(['--fast'])", 2, "unrecognized arguments: --fast"),
    "a syntax error": ("if True print()", 1, "SyntaxError: invalid syntax"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_script_that_fails_before_its_first_step_keeps_its_code_and_words(name: str, tmp_path: Path, nursery: Nursery) -> None:
    text, code, words = FAILURES[name]
    write(tmp_path / "train.py", text)
    ended = nursery.run(tmp_path, "train.py")
    assert ended.code == code
    *theirs, ours = ended.lines
    assert theirs[-1].endswith(words)
    assert not any("unvanish" in line for line in theirs)
    assert ours == f"unvanish: train.py ended with exit code {code} before its first training step"


def test_a_json_file_that_cannot_be_written_is_said_before_the_script_starts(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", "print('never printed')")
    ended = nursery.run(tmp_path, "--json", "nowhere/out.json", "train.py")
    assert (ended.code, ended.out) == (2, b"")
    assert ended.lines == ["unvanish: nowhere/out.json cannot be written; give --json another file"]


def test_a_run_that_saw_nothing_leaves_no_folder_behind_and_removes_none_that_was_there(tmp_path: Path, nursery: Nursery) -> None:
    (tmp_path / "mine").mkdir()
    assert nursery.unvanish(tmp_path, *RUN[:1], "--out", "mine/new/run", "missing.py").code == 2
    assert nursery.unvanish(tmp_path, *RUN[:1], "missing.py").code == 2
    assert list((tmp_path / "mine").iterdir()) == []
    assert not (tmp_path / "unvanish-runs").exists()
