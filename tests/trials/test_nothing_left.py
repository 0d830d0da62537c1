"""A trial leaves nothing behind: the user's folder, home and installed packages are byte for byte as they were."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCRIPT = """
import os, sqlite3, sys, tempfile
from pathlib import Path
import torch
from torch import nn
import tools  # of the project
import installed_package

net = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 2))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for step in range(3):
    loss = net(torch.ones(3, 4)).square().sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

home, project = Path.home(), Path(sys.argv[1])
torch.save(net.state_dict(), home / "project" / "weights.pt")
torch.save(net.state_dict(), "weights.pt")
assert torch.load(str(project / "weights.pt")).keys() == net.state_dict().keys()
(home / ".cache" / "mine").mkdir(parents=True)
(home / ".cache" / "mine" / "x").write_text("x")
assert (home / ".cache" / "mine" / "x").read_text() == "x"
(home / ".netrc").write_text("machine other")
connection = sqlite3.connect(project / "runs.db")
connection.execute("insert into t values (2)")
connection.commit()
print(connection.execute("select count(*) from t").fetchall())
connection.close()
(Path(installed_package.__file__).parent / "state").write_text("x")
os.rename("log.txt", home / "moved")
os.remove(project / "old.txt")
(project / "linked" / "through").write_text("x")
with tempfile.TemporaryDirectory() as folder:
    (Path(folder) / "t").write_text("x")
assert (project / "data.txt").read_text() == "data"
print("done")
"""
RUN_TRIAL = """
import sys
from pathlib import Path
from unvanish.record.races.candidate import CONTROL
from unvanish.trials import Script, Trial, run_trials
script = Script(Path("train.py"), arguments=(str(Path.cwd()),))
(result,) = run_trials([Trial(script, CONTROL, 0, Path(sys.argv[1]), isolated=True)], examine=lambda run: (), jobs=1)
print(result.steps, result.failure, dict(result.metrics))
print(Path(sys.argv[1], "stdout.txt").read_text(), Path(sys.argv[1], "stderr.txt").read_text())
"""


def snapshot(*folders: Path) -> dict[str, tuple[int, int, int, str]]:
    """Modes, times, sizes and contents of all that is in some folders, by path."""
    entries = {path: path.lstat() for folder in folders for path in folder.rglob("*")}
    return {
        str(path): (status.st_mode, status.st_mtime_ns, status.st_size, _content(path)) for path, status in sorted(entries.items())
    }


def _content(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def make_user(folder: Path) -> tuple[Path, Path]:
    """A home with a project in it, and a folder of installed packages."""
    home, packages = folder / "home", folder / "env" / "site-packages"
    texts = {
        "home/.netrc": "machine mine",
        "home/.config/tracker/settings": "key: 1",
        "home/elsewhere/kept": "kept",
        "home/project/log.txt": "log",
        "home/project/old.txt": "old",
        "home/project/data.txt": "data",
        "home/project/tools.py": "x = 1",
        "home/project/train.py": SCRIPT,
        "env/site-packages/installed_package/__init__.py": "from installed_package import inner",
        "env/site-packages/installed_package/inner.py": "",
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (home / "project" / "linked").symlink_to(home / "elsewhere")
    command = [sys.executable, "-c", "import sqlite3; sqlite3.connect('runs.db').execute('create table t (x)')"]
    subprocess.run(command, cwd=home / "project", check=True)
    return home, packages


def run_as(home: Path, packages: Path, command: list[str]) -> str:
    """What a command prints that is run from the project, with that home and these packages."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    variables = {**environment, "HOME": str(home), "PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=home / "project", env=variables, capture_output=True, text=True, check=True).stdout


def test_a_trial_writes_what_it_wants_and_leaves_nothing(tmp_path: Path) -> None:
    home, packages = make_user(tmp_path)
    before = snapshot(home, packages)
    said = run_as(home, packages, [sys.executable, "-c", RUN_TRIAL, str(tmp_path / "trial")])
    assert "3 None" in said
    assert "[(1,)]\ndone" in said
    assert snapshot(home, packages) == before


# What each tracker is asked by a script that has an account.
TRACKERS = {
    "wandb": "wandb.login(key='a' * 40); run = wandb.init(project='p', mode='online'); log = run.log",
    "trackio": "trackio.init(project='p', space_id='me/space'); log = trackio.log",
    "mlflow": "mlflow.set_tracking_uri('http://127.0.0.1:9'); mlflow.start_run(); log = mlflow.log_metrics",
    "comet_ml": "run = comet_ml.Experiment(api_key='x' * 40, project_name='p'); log = run.log_metrics",
    "aim": "run = aim.Run(experiment='p'); log = lambda d: [run.track(value, name=name) for name, value in d.items()]",
    "tensorboard": """
        from torch.utils.tensorboard import SummaryWriter
        writer = SummaryWriter(os.path.expanduser('~/tb')); log = lambda d: [writer.add_scalar(*pair) for pair in d.items()]
        """,
}


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_tracker_is_heard_and_gets_nothing(tracker: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(tracker) is None:
        pytest.skip(f"{tracker} is not installed")
    home, packages = make_user(tmp_path)
    start = f"import os, {tracker}\n{textwrap.dedent(TRACKERS[tracker]).strip()}\n"
    training, _, _ = SCRIPT.partition("home, project")
    (home / "project" / "train.py").write_text(start + training + "log({'val_accuracy': 0.5})\n")
    before = snapshot(home, packages)
    said = run_as(home, packages, [sys.executable, "-c", RUN_TRIAL, str(tmp_path / "trial")])
    assert "3 None" in said
    assert "'val_accuracy': 0.5" in said
    assert snapshot(home, packages) == before
