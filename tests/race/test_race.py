"""One real race on a sick script, from its untouched source to the line that cures it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from unvanish.errors import ScriptError, TrialError
from unvanish.race import RaceSettings, checkpoint_prover, insert_apply_line, race
from unvanish.record.finding import Finding, Severity
from unvanish.record.races.candidate import Candidate
from unvanish.record.races.verdict import Outcome, RaceResult
from unvanish.record.run import Run
from unvanish.record.structure import Entry, Location
from unvanish.trials import Script
from unvanish.trials.engines.local import LocalEngine

SICK = """\
import torch
from torch import nn
torch.manual_seed(1)
x = torch.randn(128, 8)
y = (x[:, :4].sum(1) > 0).long()
layers = [m for _ in range(8) for m in (nn.Linear(8, 8), nn.Sigmoid())]
net = nn.Sequential(*layers, nn.Linear(8, 2))
optimizer = torch.optim.Adam(
    net.parameters(), lr=0.02)
for step in range(60):
    loss = nn.functional.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss {loss.item():.3f}")
"""


def examine(run: Run) -> Sequence[Finding]:
    """Sick is what has not halved its loss."""
    losses = run.objective(0)[1]
    return [Finding("stuck", Severity.CRITICAL, 1.0, "", "")] if losses[-1] > losses[0] / 2 else []


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("race") / "train.py"
    path.write_text(SICK)
    return path


@pytest.fixture(scope="module")
def result(script: Path) -> RaceResult:
    entry = Entry(Location(str(script), 9), "net")
    candidates = [insert_apply_line(entry, names, after_optimizer=False) for names in (("relu", "he-init"), ("no-such-remedy",))]
    with LocalEngine(examine=examine) as engine:
        folder = script.parent / "trials"
        prover = checkpoint_prover(Script(script), engine, folder)
        return race(candidates, None, RaceSettings(Script(script), engine, folder, steps=60, prove_checkpoint=prover))


def test_the_cure_wins_and_its_line_is_handed_over(result: RaceResult) -> None:
    assert result.winner == Candidate(("relu", "he-init"))
    assert result.verdicts[0].outcome is Outcome.CURED
    assert result.sentence == "One cure was found: relu + he-init."
    assert result.verdicts[0].reason.endswith("Its weights, saved and loaded into a freshly built network, give the same outputs.")
    assert result.notes == ()


def test_a_remedy_that_cannot_be_applied_loses_with_the_reason(result: RaceResult) -> None:
    failed = result.verdicts[-1]
    assert (failed.candidate, failed.outcome) == (Candidate(("no-such-remedy",)), Outcome.FAILED)
    assert failed.failure.startswith("not applied: ")
    assert "not applied: " in failed.reason


def test_control_and_candidates_share_seeds_and_steps(result: RaceResult) -> None:
    finished = [trial for trial in result.trials if trial.failure is None]
    assert [(trial.candidate.remedies, trial.seed) for trial in finished] == [
        (r, s) for s in (0, 1, 2) for r in ((), ("relu", "he-init"))
    ]
    assert {trial.steps for trial in finished} == {60}
    assert finished[0].losses != finished[2].losses


def test_the_users_file_is_not_touched(result: RaceResult, script: Path) -> None:
    assert script.read_text() == SICK
    assert {path.name for path in script.parent.iterdir()} == {"train.py", "trials"}


def test_a_source_that_cannot_be_edited_is_refused_before_anything_runs(script: Path, tmp_path: Path) -> None:
    for entry, fault in (
        (Entry(Location(str(script), 99), "net"), TrialError),
        (Entry(Location(str(tmp_path / "gone.py"), 1), "net"), ScriptError),
    ):
        with pytest.raises(fault):
            insert_apply_line(entry, ("relu",), after_optimizer=False)
