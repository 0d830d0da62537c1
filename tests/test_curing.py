"""fix: a sick script gets a patch that git takes and that cures it; a healthy one is left in peace; what cannot run is told."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from unvanish.curing import PATCH, Fix, fix_script
from unvanish.errors import ObservationError, UnknownRemedy
from unvanish.record.verdict import Outcome
from unvanish.trials import Script

SICK = """\
import torch
from torch import nn

torch.manual_seed(1)
x = torch.randn(128, 8)
y = (x[:, :4].sum(1) > 0).long()
layers = [m for _ in range(10) for m in (nn.Linear(8, 8), nn.Sigmoid())]
net = nn.Sequential(*layers, nn.Linear(8, 2))
optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
for step in range(60):
    loss = nn.functional.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"last loss {loss.item():.6f}")
"""
HEALTHY = SICK.replace("nn.Sigmoid()", "nn.Tanh()").replace("range(10)", "range(2)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git tree with the sick script."""
    place = tmp_path_factory.mktemp("fix")
    (place / "train.py").write_text(SICK)
    subprocess.run(["git", "init", "-q"], cwd=place, check=True)
    return place


@pytest.fixture(scope="module")
def done(folder: Path) -> Fix:
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        return fix_script(Script(Path("train.py")), folder=folder / "out", seeds=2, remedies=("relu+he-init",))


def test_the_cure_is_proved_and_the_script_left_as_it_was(done: Fix, folder: Path) -> None:
    race = done.checkup.run.race
    assert race is not None
    assert [(verdict.remedies, verdict.outcome) for verdict in race.verdicts] == [(("relu", "he-init"), Outcome.CURED)]
    assert done.cured
    assert (folder / "train.py").read_text() == SICK


def test_the_patched_script_run_alone_gives_the_losses_of_its_trial(done: Fix, folder: Path, tmp_path: Path) -> None:
    assert done.patch == (folder / "out" / PATCH).read_text()
    (tmp_path / "train.py").write_text(SICK)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=done.patch, text=True, check=True)
    assert 'unvanish.apply(net, "relu", "he-init")\noptimizer' in (tmp_path / "train.py").read_text()
    alone = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    printed = re.search(r"last loss (\S+)", alone.stdout)
    race = done.checkup.run.race
    assert printed is not None
    assert race is not None
    trial = next(each for each in race.trials if each.remedies and each.seed == 0)
    assert float(printed[1]) == pytest.approx(trial.losses[-1], abs=1e-6)


def test_a_healthy_script_is_left_in_peace(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(HEALTHY)
    told = fix_script(Script(tmp_path / "train.py"), folder=tmp_path / "out", seeds=1)
    assert told.cured
    assert told.patch is None
    assert told.checkup.run.race is not None
    assert "healthy" in told.checkup.run.race.sentence


def test_an_unknown_remedy_and_a_failing_script_are_told(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit('no data')\n")
    with pytest.raises(UnknownRemedy, match="did you mean 'relu'"):
        fix_script(Script(tmp_path / "train.py"), folder=tmp_path / "a", remedies=("rellu",))
    assert not (tmp_path / "a").exists()
    with pytest.raises(ObservationError, match="nothing to race"):
        fix_script(Script(tmp_path / "train.py"), folder=tmp_path / "b")
