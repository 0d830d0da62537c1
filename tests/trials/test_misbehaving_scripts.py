"""Scripts that misbehave, run as real trials: each ends, has a complete record, and changes no file of the user's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from unvanish.record.races.candidate import CONTROL
from unvanish.record.races.verdict import TrialResult
from unvanish.record.storage.file_names import RUN_FILE
from unvanish.record.storage.journal import load
from unvanish.trials import Script, Trial, run_trials
from unvanish.trials.isolation.workplace import MIRROR_PATH_FILE
from unvanish.trials.isolation.writes import read_writes
from unvanish.trials.output_files import TAIL_BYTES, limit_size, read_tail
from unvanish.trials.process import TrialProcess
from unvanish.trials.script.process_exit import IdleTimeout, intercept_os_exit
from unvanish.trials.trial import STDERR_FILE, STDOUT_FILE, WRITES_FILE

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
        trials[name] = Trial(Script(path), CONTROL, 0, folder / name, edits=edits, max_steps=last, cwd=home, isolated=True)
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


def test_the_losses_are_those_that_the_script_computed(results: Mapping[str, TrialResult], folder: Path) -> None:
    name = "leaves by os._exit, and a fork behind it"
    assert (folder / name / STDOUT_FILE).read_text() == f"{list(results[name].losses)}\n"


def test_a_script_that_writes_everywhere_in_its_folder_changes_none_of_the_users_files(
    results: Mapping[str, TrialResult], home: Path, folder: Path
) -> None:
    name = "writes all over its folder"
    assert ((home / "out" / "best.pt").read_text(), (home / "notes.txt").read_text()) == ("mine", "mine")
    assert not list(home.rglob("__pycache__"))
    assert read_writes(folder / name / WRITES_FILE).own == (home / "notes.txt", home / "out" / "best.pt")
    assert read_writes(folder / name / WRITES_FILE).shared == ()
    assert not Path((folder / name / MIRROR_PATH_FILE).read_text()).exists()
    assert dict(results[name].metrics)["val_accuracy"] == 0.75


def test_messages_and_records_of_a_trial_in_a_mirror_name_the_users_own_files(
    results: Mapping[str, TrialResult], home: Path, folder: Path
) -> None:
    name = "writes all over its folder"
    assert results[name].failure == f"crashed: ValueError: {home / 'out'}"
    assert f'File "{path_of(home, name)}", line' in (folder / name / STDERR_FILE).read_text()
    run = load(folder / name / RUN_FILE)
    entry = run.structure.networks[0].entry
    assert entry is not None
    assert (entry.location.file, run.facts.script) == (str(path_of(home, name)), str(path_of(home, name)))


def test_output_that_grows_too_large_is_cut_and_its_last_part_is_read(results: Mapping[str, TrialResult], folder: Path) -> None:
    assert dict(results["prints without end"].metrics) == {"val_accuracy": 0.25}
    assert sum(path.stat().st_size for path in (folder / "prints without end").iterdir()) < 140_000_000


def test_output_that_was_cut_continues_behind_the_kept_part(tmp_path: Path) -> None:
    path = tmp_path / "stdout.txt"
    with path.open("ab", buffering=0) as file:
        file.write(b"a" * TAIL_BYTES + b"b" * TAIL_BYTES)
        limit_size(path, max_bytes=TAIL_BYTES)
        file.write(b"c" * 3)
    assert path.read_bytes() == b"ccc"
    assert read_tail(path) == "b" * TAIL_BYTES + "ccc"


def test_matplotlib_draws_without_a_window(results: Mapping[str, TrialResult], folder: Path) -> None:
    assert (folder / "shows a figure" / STDOUT_FILE).read_text() == "Agg\n"


@pytest.mark.parametrize(
    ("name", "cause"),
    [("asks", "asks for input"), ("stops at a breakpoint", "stops at a breakpoint"), ("runs out of memory", "out of memory")],
)
def test_a_script_that_needs_what_a_trial_lacks_says_so(name: str, cause: str, results: Mapping[str, TrialResult]) -> None:
    assert (results[name].failure or "").startswith(cause)


def test_a_script_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    text = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(600)"
    (tmp_path / "deaf.py").write_text(START + text)
    process = TrialProcess(Trial(Script(tmp_path / "deaf.py"), CONTROL, 0, tmp_path / "out", isolated=True), None)
    while not (tmp_path / "out" / STDOUT_FILE).read_text():
        time.sleep(0.02)
    process.terminate()
    process.kill(0.2)
    assert process.exit_code == -signal.SIGKILL
    assert not Path((tmp_path / "out" / MIRROR_PATH_FILE).read_text()).exists()


def test_threads_that_never_end_are_not_waited_for_longer_than_allowed(tmp_path: Path) -> None:
    (tmp_path / "threads.py").write_text(START + "threading.Thread(target=time.sleep, args=(600,)).start()\nprint('done')")
    launch = """
from pathlib import Path
from unvanish.trials.script.process_exit import exit_process
from unvanish.trials.script.execution import Script, execute
asked = []
ending = execute(Script(Path("threads.py")), stop_waiting=lambda: asked.append(None) or len(asked) == 2)
print(ending.reason)
exit_process(4)
"""
    ended = subprocess.run([sys.executable, "-c", launch], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (4, "done\nfinished\n", "")


def test_the_idle_timeout_expires_when_the_state_has_not_changed_for_long_enough() -> None:
    now = [0.0]
    timeout = IdleTimeout(10.0, clock=lambda: now[0])
    answers: list[bool] = []
    for now[0], state in ((0.0, 1), (9.0, 2), (18.0, 2), (19.0, 2)):
        answers.append(timeout.is_expired(state))
    assert answers == [False, False, False, True]


def test_os_exit_in_a_fork_is_not_intercepted() -> None:
    codes: list[int] = []
    original = os._exit
    with intercept_os_exit(codes.append):
        assert os._exit is not original
        child = os.fork()
        if child == 0:
            os._exit(5)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert os._exit is original
    assert codes == []
