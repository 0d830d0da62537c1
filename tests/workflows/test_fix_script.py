"""fix: a sick script gets a patch that git takes and that cures it; a healthy one is left in peace; what cannot run is result."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from unvanish.errors import ObservationError, UnknownRemedy, UsageError
from unvanish.plugins.rules import diagnose
from unvanish.record.races.verdict import Outcome, TrialResult
from unvanish.record.storage.file_names import PATCH_FILE
from unvanish.trials import Script, Trial
from unvanish.trials.engines.engine import Engine, Goal
from unvanish.trials.engines.local import LocalEngine
from unvanish.workflows.fix_script import Fix, FixOptions, fix_script, plan_script

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


class Counting(Engine):
    """The local engine, with a count of the trials that it ran; Ctrl-C comes in place of round `interrupted`."""

    name = "counting"

    def __init__(self, interrupted: int | None = None) -> None:
        self.engine = LocalEngine(examine=diagnose)
        self.ran: list[str] = []
        self.rounds, self.interrupted = 0, interrupted

    @property
    def capacity(self) -> int:
        return self.engine.capacity

    def advance(self, goals: Sequence[Goal]) -> list[TrialResult]:
        self.rounds += 1
        if self.rounds == self.interrupted:
            raise KeyboardInterrupt
        self.ran += [f"{trial.name} {trial.seed}" for trial, _ in goals]
        return self.engine.advance(goals)

    def stop(self, trials: Sequence[Trial]) -> None:
        self.engine.stop(trials)

    def close(self) -> None:
        self.engine.close()


def fixed(script: Path, folder: Path, engine: Engine, **options: Any) -> Fix:
    with engine:
        return fix_script(Script(script), folder=folder, engine=engine, **options)


CANDIDATE = FixOptions(seeds=2, remedies=("relu+he-init",))


@pytest.fixture(scope="module")
def ended_early(folder: Path) -> Fix:
    """A fix that Ctrl-C ended before the second seed."""
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        return fixed(Path("train.py"), folder / "out", Counting(interrupted=4), options=CANDIDATE)


@pytest.fixture(scope="module")
def resumed(ended_early: Fix) -> Counting:
    """What ran when it was gone on with."""
    return Counting()


@pytest.fixture(scope="module")
def done(folder: Path, resumed: Counting) -> Fix:
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        return fixed(Path("train.py"), folder / "out", resumed, options=CANDIDATE, resume=True)


def test_a_fix_that_was_ended_early_tells_what_it_knows_and_is_gone_on_with(ended_early: Fix, done: Fix, resumed: Counting) -> None:
    assert ended_early.patch is None
    assert ended_early.checkup.run.race is not None
    assert ended_early.checkup.run.race.sentence.startswith("Not enough budget to tell")
    assert resumed.ran[:2] == ["as it is 1", "relu + he-init 1"]
    proofs = {trial.rpartition(" ")[0] for trial in resumed.ran[2:]}  # the winner's checkpoint: one process writes it, one loads it
    assert proofs == {"relu + he-init"}


def test_a_finished_fix_leaves_its_record_its_page_and_its_patch(done: Fix, folder: Path) -> None:
    assert {path.name for path in (folder / "out").iterdir()} == {".gitignore", "run.sqlite", "report.html", PATCH_FILE}


def test_the_cure_is_proved_and_the_script_left_as_it_was(done: Fix, folder: Path) -> None:
    race = done.checkup.run.race
    assert race is not None
    assert [(verdict.remedies, verdict.outcome) for verdict in race.verdicts] == [(("relu", "he-init"), Outcome.CURED)]
    assert done.cured
    assert (folder / "train.py").read_text() == SICK


def test_the_patched_script_run_alone_gives_the_losses_of_its_trial(done: Fix, folder: Path, tmp_path: Path) -> None:
    assert done.patch == (folder / "out" / PATCH_FILE).read_text()
    (tmp_path / "train.py").write_text(SICK)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=done.patch, text=True, check=True)
    patched = (tmp_path / "train.py").read_text()
    assert "(nn.Linear(8, 8), nn.ReLU())" in patched
    assert '        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")\n' in patched
    assert "unvanish" not in patched
    alone = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    printed = re.search(r"last loss (\S+)", alone.stdout)
    race = done.checkup.run.race
    assert printed is not None
    assert race is not None
    trial = next(each for each in race.trials if not each.candidate.is_control and each.seed == 0)
    assert float(printed[1]) == pytest.approx(trial.losses[-1], abs=1e-6)


def test_a_healthy_script_is_left_in_peace(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(HEALTHY)
    engine = Counting()
    result = fixed(tmp_path / "train.py", tmp_path / "out", engine)
    assert result.cured
    assert result.patch is None
    assert result.checkup.run.race is not None
    assert result.checkup.run.race.sentence.startswith("The control is fine")
    assert engine.ran == ["as it is 0"]


def test_a_plan_for_a_module_says_what_would_be_tried_and_trains_no_candidate(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    engine = Counting()
    with engine:
        plan = plan_script(Script(module="train"), engine=engine)
    assert engine.ran == ["as it is 0", "as it is 0"]
    assert plan.steps == 60
    assert {"relu", "he-init"} <= {name for each in plan.candidates for name in each.candidate.remedies}
    assert all(each.finding == "vanishing-gradient" and each.lines >= 1 for each in plan.candidates)
    assert 1 < plan.runs(plan.cost_steps) < len(plan.candidates) + 5


JITTER = "    net[-1].bias.data[0] += 1e-3 * int.from_bytes(os.urandom(1), 'big')"
NOISY = "import os\n" + SICK.replace("    optimizer.step()", f"    optimizer.step()\n{JITTER}")


def test_a_script_that_does_not_repeat_itself_is_told_and_raced_with_more_seeds(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(NOISY)
    engine = Counting(interrupted=4)
    result = fixed(
        tmp_path / "train.py", tmp_path / "out", engine, options=FixOptions(seeds=2, remedies=("relu+he-init",), max_steps=20)
    )
    race = result.checkup.run.race
    assert race is not None
    assert "not deterministic" in race.notes[0]
    assert "4 seeds are raced in place of 2" in race.notes[0]


def test_what_cannot_be_fixed_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit('no data')\n")
    with pytest.raises(UnknownRemedy, match="did you mean 'relu'"):
        fixed(tmp_path / "train.py", tmp_path / "a", Counting(), options=FixOptions(remedies=("rellu",)))
    with pytest.raises(ObservationError, match="nothing to race"):
        fixed(tmp_path / "train.py", tmp_path / "b", Counting())
    (tmp_path / "healthy.py").write_text(HEALTHY)
    with pytest.raises(UsageError, match="reports no such figure; it reports loss"):
        fixed(tmp_path / "healthy.py", tmp_path / "c", Counting(), options=FixOptions(metric="val_acc", max_steps=5))
    assert {path.name for path in tmp_path.iterdir()} == {"train.py", "healthy.py"}
