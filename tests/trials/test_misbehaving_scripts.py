"""Scripts that make a trial hard, run for real: each ends, tells what it learned, and harms neither files nor race."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from unvanish.record.journal import load
from unvanish.record.verdict import TrialResult
from unvanish.trials import Script, Trial, run_trials
from unvanish.trials.isolation.workplace import ADDRESS
from unvanish.trials.isolation.writes import written
from unvanish.trials.output_files import KEPT, curb, end_of
from unvanish.trials.process import TrialProcess
from unvanish.trials.script.process_exit import IdleTimeout, hard_exits_told
from unvanish.trials.trial import RUN, STDERR, STDOUT, WRITES

START = """
import atexit, multiprocessing, os, shutil, signal, sys, threading, time
from pathlib import Path
"""
TRAINING = (
    START
    + """
import torch
from torch import nn
torch.manual_seed(0)
x = torch.randn(32, 4)
y = (x.sum(1) > 0).long()
net = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 2))
optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
def step(x=x, y=y):
    loss = nn.functional.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()
def endless():
    while True:
        time.sleep(600)
"""
)

# With torch: about 4 s of a core each.
TRAININGS = {
    "leaves by os._exit, and a fork behind it": """
if os.fork() == 0:
    for _ in range(1000): step()
    endless()
print([step() for _ in range(7)])
os._exit(0)
""",
    "exits in its loop": """
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8, num_workers=2)
for epoch in range(9):
    for batch in loader:
        step(*batch)
    if epoch == 1:
        sys.exit(0)
""",
    "catches everything and leaves threads": """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
threading.Thread(target=endless).start()
multiprocessing.Process(target=endless).start()
for _ in range(10**9):
    try:
        step()
    except BaseException:
        pass
""",
    "turns what stops it into a failure": """
try:
    for _ in range(10**9): step()
except BaseException as fault:
    raise SystemExit(3)
""",
    "writes all over its folder": """
import settings
for p in Path(".").iterdir():
    if p.name.endswith(".txt"): p.unlink()
os.chdir(settings.OUT)
for _ in range(6):
    step()
    torch.save(net.state_dict(), "best.pt")
assert torch.load("best.pt", weights_only=True)["0.weight"].equal(net[0].weight)
print("val_acc: 50%")
raise ValueError(str(settings.OUT))
""",
}
EDITED = {"writes all over its folder": ("50%", "75%")}

# Without torch: cheap.
OTHERS = {
    "prints without end": "for _ in range(150): print('x' * 1_000_000)\nprint('val_acc: 0.25')",
    "shows a figure": "print(os.environ['MPLBACKEND'])",
    "asks": "import getpass\ngetpass.getpass()",
    "stops at a breakpoint": "breakpoint()",
    "runs out of memory": "bytearray(10**18)",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's folder, with the scripts in it."""
    home = tmp_path_factory.mktemp("home")
    for name, text in TRAININGS.items():
        path_of(home, name).write_text(TRAINING + text)
    for name, text in OTHERS.items():
        path_of(home, name).write_text(START + text)
    (home / "out").mkdir()
    (home / "out" / "best.pt").write_text("mine")
    (home / "notes.txt").write_text("mine")
    (home / "settings.py").write_text("from pathlib import Path\nOUT = Path(__file__).resolve().parent / 'out'\n")
    return home


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trials")


@pytest.fixture(scope="module")
def results(home: Path, folder: Path) -> Mapping[str, TrialResult]:
    """Each script run apart from the user's folder, to its fifth step where it would not end by itself."""
    trials: dict[str, Trial] = {}
    for name in (*TRAININGS, *OTHERS):
        path = path_of(home, name)
        edits = ((path, path.read_text().replace(*EDITED[name])),) if name in EDITED else ()
        last = 5 if "10**9" in TRAININGS.get(name, "") else None
        trials[name] = Trial(Script(path), (), 0, folder / name, edits=edits, max_steps=last, cwd=home, apart=True)
    ended = run_trials(list(trials.values()), examine=lambda run: (), jobs=2)
    return dict(zip(trials, ended, strict=True))


def path_of(home: Path, name: str) -> Path:
    return home / f"{name.replace(' ', '_').replace(',', '')}.py"


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("leaves by os._exit, and a fork behind it", 7),
        ("exits in its loop", 8),
        ("catches everything and leaves threads", 5),
        ("turns what stops it into a failure", 5),
    ],
)
def test_however_a_script_ends_its_record_is_complete(name: str, steps: int, results: Mapping[str, TrialResult]) -> None:
    assert (results[name].failure, results[name].steps, len(results[name].losses)) == (None, steps, steps)


def test_the_losses_are_those_that_the_script_saw(results: Mapping[str, TrialResult], folder: Path) -> None:
    name = "leaves by os._exit, and a fork behind it"
    assert (folder / name / STDOUT).read_text() == f"{list(results[name].losses)}\n"


def test_a_script_that_writes_all_over_its_folder_leaves_it_as_it_was(
    results: Mapping[str, TrialResult], home: Path, folder: Path
) -> None:
    name = "writes all over its folder"
    assert ((home / "out" / "best.pt").read_text(), (home / "notes.txt").read_text()) == ("mine", "mine")
    assert not list(home.rglob("__pycache__"))
    assert written(folder / name / WRITES).own == (home / "notes.txt", home / "out" / "best.pt")
    assert written(folder / name / WRITES).shared == ()
    assert not Path((folder / name / ADDRESS).read_text()).exists()
    assert dict(results[name].metrics)["val_accuracy"] == 0.75


def test_what_is_told_of_a_trial_apart_names_the_users_own_files(
    results: Mapping[str, TrialResult], home: Path, folder: Path
) -> None:
    name = "writes all over its folder"
    assert results[name].failure == f"crashed: ValueError: {home / 'out'}"
    assert f'File "{path_of(home, name)}", line' in (folder / name / STDERR).read_text()
    run = load(folder / name / RUN)
    entry = run.anatomy.networks[0].entry
    assert entry is not None
    assert (entry.location.file, run.facts.script) == (str(path_of(home, name)), str(path_of(home, name)))


def test_endless_output_is_cut_and_its_end_is_read(results: Mapping[str, TrialResult], folder: Path) -> None:
    assert dict(results["prints without end"].metrics) == {"val_accuracy": 0.25}
    assert sum(path.stat().st_size for path in (folder / "prints without end").iterdir()) < 140_000_000


def test_output_that_was_cut_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "stdout.txt"
    with path.open("ab", buffering=0) as file:
        file.write(b"a" * KEPT + b"b" * KEPT)
        curb(path, largest=KEPT)
        file.write(b"c" * 3)
    assert path.read_bytes() == b"ccc"
    assert end_of(path) == "b" * KEPT + "ccc"


def test_figures_are_drawn_without_a_window(results: Mapping[str, TrialResult], folder: Path) -> None:
    assert (folder / "shows a figure" / STDOUT).read_text() == "Agg\n"


@pytest.mark.parametrize(
    ("name", "cause"),
    [("asks", "asks for input"), ("stops at a breakpoint", "stops at a breakpoint"), ("runs out of memory", "out of memory")],
)
def test_what_a_trial_cannot_give_is_said(name: str, cause: str, results: Mapping[str, TrialResult]) -> None:
    assert (results[name].failure or "").startswith(cause)


def test_a_script_that_ignores_signals_is_ended(tmp_path: Path) -> None:
    text = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(600)"
    (tmp_path / "deaf.py").write_text(START + text)
    process = TrialProcess(Trial(Script(tmp_path / "deaf.py"), (), 0, tmp_path / "out", apart=True), None)
    while not (tmp_path / "out" / STDOUT).read_text():
        time.sleep(0.02)
    process.ask_to_end()
    process.end(0.2)
    assert process.exit_code == -signal.SIGKILL
    assert not Path((tmp_path / "out" / ADDRESS).read_text()).exists()


def test_threads_that_never_end_are_waited_for_no_longer_than_asked(tmp_path: Path) -> None:
    (tmp_path / "threads.py").write_text(START + "threading.Thread(target=time.sleep, args=(600,)).start()\nprint('done')")
    launch = """
from pathlib import Path
from unvanish.trials.script.process_exit import leave
from unvanish.trials.script.execution import Script, execute
asked = []
ending = execute(Script(Path("threads.py")), enough=lambda: asked.append(None) or len(asked) == 2)
print(ending.how)
leave(4)
"""
    ended = subprocess.run([sys.executable, "-c", launch], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (4, "done\nfinished\n", "")


def test_patience_ends_when_nothing_has_changed_for_long_enough() -> None:
    now = [0.0]
    patience = IdleTimeout(10.0, clock=lambda: now[0])
    answers: list[bool] = []
    for now[0], state in ((0.0, 1), (9.0, 2), (18.0, 2), (19.0, 2)):
        answers.append(patience.ended(state))
    assert answers == [False, False, False, True]


def test_a_hard_exit_in_a_fork_is_not_told_of() -> None:
    told: list[int] = []
    original = os._exit
    with hard_exits_told(told.append):
        assert os._exit is not original
        child = os.fork()
        if child == 0:
            os._exit(5)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert os._exit is original
    assert told == []
