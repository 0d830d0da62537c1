"""`unvanish run` changes nothing that a script does: its output to the byte, its exit code, its traceback. What it saw is kept."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
from child_processes import Nursery, write
from scripts import CASES, NEVER_CALLED, SGD, SPAWN_WORKERS, START, STEP, Case, loop


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_script_prints_and_ends_as_it_does_alone_and_is_seen(case: Case, tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", case.text)
    alone, watched = nursery.python(tmp_path, "train.py"), nursery.run(tmp_path, "train.py")
    assert watched.out == alone.out
    assert (watched.code, alone.code) == (case.code, case.code), watched.err
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    record = watched.record
    assert (record.step_count, len(record.structure.networks)) == (case.steps, case.networks)
    assert record.facts.faults == ()
    assert record.facts.ending == case.ending
    assert np.isfinite(record.objective()[1]).all()


def test_spawn_workers_find_the_script_again(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", SPAWN_WORKERS)
    watched = nursery.run(tmp_path, "train.py")
    assert (watched.code, len(watched.out.splitlines())) == (0, 8), watched.err
    assert watched.record.step_count == 8


def test_a_module_that_is_never_called_is_watched_by_its_parameters_or_refused_in_a_line(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", NEVER_CALLED)
    alone, watched = nursery.python(tmp_path, "train.py"), nursery.run(tmp_path, "train.py")
    assert watched.out == alone.out
    assert watched.code == 0, watched.err
    assert watched.record.step_count == 6
    assert len(watched.record.structure.parameters) == 6


LOGS_ITS_OUTPUT = """
import sys
sys.stdout = sys.stderr = open("log.txt", "w")
"""


def test_files_that_a_script_puts_in_place_of_its_streams_get_no_word_of_ours(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", LOGS_ITS_OUTPUT + loop(4))
    assert nursery.python(tmp_path, "train.py").code == 0
    alone = (tmp_path / "log.txt").read_text()
    watched = nursery.run(tmp_path, "--json", "-", "train.py")
    assert (tmp_path / "log.txt").read_text() == alone
    assert json.loads(watched.out)["steps"] == 4
    assert "report.html" in watched.err


WAYS_TO_FAIL = {
    "in the script": ("", "if step == 3: 1 / 0"),
    "in forward": (
        """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 2)
    def forward(self, x):
        if step == 3:
            raise ValueError("in forward")
        return self.layer(x)
model = Net()
""",
        "",
    ),
    "in backward": (
        """
class Bad(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return x.clone()
    @staticmethod
    def backward(ctx, g): raise ValueError("in backward")
class Net(nn.Sequential):
    def forward(self, x):
        out = super().forward(x)
        return Bad.apply(out) if step == 3 else out
model = Net(nn.Linear(6, 2))
""",
        "",
    ),
    "in the optimizer": ("", "if step == 3: optimizer.register_step_pre_hook(lambda *_: 1 / 0)"),
    "in the user's own hook": ("model[0].register_forward_hook(lambda *_: 1 / (3 - step) and None)\n", ""),
    "in a loss that is no scalar": ("", "if step == 3: model(x).backward()"),
    "in a shape": ("", "if step == 3: model(x[:, :2])"),
}


@pytest.mark.parametrize("failure", WAYS_TO_FAIL, ids=WAYS_TO_FAIL.keys())
def test_a_traceback_is_the_users_own_without_our_frames(failure: str, tmp_path: Path, nursery: Nursery) -> None:
    before, after = WAYS_TO_FAIL[failure]
    body = STEP.replace("optimizer.step()", after + "\noptimizer.step()") if after else STEP
    write(tmp_path / "train.py", loop(5, body, start=START + before + SGD))
    alone, watched = nursery.python(tmp_path, "train.py"), nursery.run(tmp_path, "--quiet", "train.py")
    assert watched.code == alone.code == 1
    assert watched.out == alone.out
    assert watched.lines[0] == "Traceback (most recent call last):"
    assert "/unvanish/" not in watched.err
    assert frames_of(watched.lines, tmp_path) == frames_of(alone.lines, tmp_path)
    assert watched.lines[-1] == alone.lines[-1]


def frames_of(lines: list[str], folder: Path) -> list[str]:
    """The script's own frames in a traceback. Those of torch differ on a step that is sampled: it goes by way of its hooks."""
    frames = [line for line in lines if str(folder) in line]
    assert frames
    return frames


def test_ctrl_c_ends_by_its_signal_as_python_does_and_the_report_is_written(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", loop(50, STEP + "if step == 30: import os, signal; os.kill(os.getpid(), signal.SIGINT)"))
    ended = nursery.run(tmp_path, "--json", "out.json", "train.py")
    assert ended.code == -signal.SIGINT
    assert ended.lines[0] == "Traceback (most recent call last):"
    assert "KeyboardInterrupt" in ended.lines
    assert (tmp_path / "run" / "report.html").exists()
    assert ended.record.facts.ending == "KeyboardInterrupt"
    assert json.loads((tmp_path / "out.json").read_text())["steps"] in (30, 31)


def test_the_script_gets_its_arguments_also_those_that_look_like_ours(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", loop(3, end="print(sys.argv, __name__, sys.path[0])"))
    ended = nursery.run(tmp_path, "train.py", "--out", "mine", "--json", "-m", "--help", "--", "-h")
    expected = f"{['train.py', '--out', 'mine', '--json', '-m', '--help', '--', '-h']} __main__ {tmp_path}"
    assert ended.out.decode().splitlines()[-1] == expected


def test_a_module_runs_by_its_name_with_options_of_its_own(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "pkg" / "__init__.py", "")
    write(tmp_path / "pkg" / "train.py", "from . import sizes\n" + loop(3, end="print(sys.argv[1:], __package__)"))
    write(tmp_path / "pkg" / "sizes.py", "")
    for options in ((), ("--every", "1")):
        folder = f"run{len(options)}"
        theirs = ("--out", "mine", "--lr", "0.1", "-m", "x")
        ended = nursery.unvanish(tmp_path, "run", "--out", folder, *options, "-m", "pkg.train", *theirs)
        assert ended.code == 0, ended.err
        assert ended.out.decode().splitlines()[-1] == f"{list(theirs)} pkg"
        assert (tmp_path / folder / "run.sqlite").exists()
