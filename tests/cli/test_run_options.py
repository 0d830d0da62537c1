"""What a person asks of `unvanish run`, and where its words go: to standard error, in plain text unless that is a terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from child_processes import Ended, Nursery, write
from scripts import STEP, loop

STUCK = """
import torch
from torch import nn
torch.manual_seed(0)
x, y = torch.randn(128, 8), torch.randint(0, 3, (128,))
layers = []
for _ in range(9):
    layers += [nn.Linear(8, 8), nn.Sigmoid()]
model = nn.Sequential(*layers, nn.Linear(8, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
for step in range(150):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
print("last line of the script", end="")
"""
KEYS = {"code", "severity", "confidence", "summary", "sites", "cause", "evidence", "symptoms", "remedies"} | {"began", "trend"}


@pytest.fixture(scope="module")
def sick(tmp_path_factory: pytest.TempPathFactory, nursery: Nursery) -> Ended:
    """A run of a network that does not learn, with its JSON on standard output."""
    folder = tmp_path_factory.mktemp("sick")
    write(folder / "train.py", STUCK)
    return nursery.run(folder, "--json", "-", "train.py")


def test_json_comes_last_on_standard_output_in_schema_1(sick: Ended) -> None:
    assert sick.code == 0
    script, _, document = sick.out.decode().partition("{")
    assert script.strip() == "last line of the script"
    read = json.loads("{" + document)
    assert {"schema": 1, "healthy": False, "steps": 150}.items() <= read.items()
    assert 0 <= read["overhead"] <= 1
    (finding,) = read["findings"]
    assert finding.keys() == KEYS
    assert finding["code"] == "vanishing-gradient"
    assert finding["cause"]["code"] == "saturating-activation"
    assert 0 < finding["cause"]["share"] <= 1
    assert finding["sites"][0] == "0"
    assert finding["sites"] == sorted(finding["sites"], key=int)
    assert set(finding["symptoms"]) <= {"loss-not-decreasing", "learning-rate-too-low"}
    assert finding["symptoms"]
    for evidence in finding["evidence"]:
        assert {"quantity", "value", "unit", "threshold", "source"} <= evidence.keys()


def test_the_report_for_people_is_on_standard_error_in_plain_text(sick: Ended) -> None:
    assert "\x1b" not in sick.err
    assert sick.lines[0] == ""  # the script may have left its last line open
    assert sick.lines[1].startswith("● SICK")
    assert "follows from the above" in sick.err
    assert "train.py:7" in sick.err
    assert "run/report.html" in sick.err
    assert max(map(len, sick.lines)) <= 80


def test_a_stored_run_is_reported_again_in_the_same_schema(sick: Ended, nursery: Nursery) -> None:
    folder = sick.folder.parent
    document = sick.out.decode()[sick.out.decode().index("{") :]
    for place in ("run", "run/run.sqlite"):
        again = nursery.unvanish(folder, "report", place, "--json", "-", "--html", "again.html", "--quiet")
        assert (again.code, again.out.decode(), again.err) == (0, document, "")
    assert (folder / "again.html").read_bytes() == (sick.folder / "report.html").read_bytes()
    shown = nursery.unvanish(folder, "report", "run")
    assert shown.lines[0] == sick.lines[1]


def test_quiet_says_nothing_and_writes_the_files(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", loop(3))
    ended = nursery.run(tmp_path, "--quiet", "--json", "out.json", "train.py")
    assert (ended.code, len(ended.out.splitlines()), ended.err) == (0, 3, "")
    assert json.loads((tmp_path / "out.json").read_text())["steps"] == 3
    assert {file.name for file in (tmp_path / "run").iterdir()} == {".gitignore", "run.sqlite", "report.html"}


def test_without_out_the_run_is_named_after_time_and_script(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", loop(2))
    assert nursery.unvanish(tmp_path, "run", "train.py").code == 0
    (folder,) = (tmp_path / "unvanish-runs").iterdir()
    assert folder.match("*-train")
    assert (folder / "run.sqlite").exists()


def test_every_samples_each_nth_step(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", loop(25))
    assert nursery.run(tmp_path, "--every", "4", "train.py").record.sampled.tolist() == [1, 4, 8, 12, 16, 20, 24]


def test_no_budget_leaves_the_steps_that_are_always_sampled(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", loop(50))
    assert nursery.run(tmp_path, "--budget", "0", "train.py").record.sampled.tolist() == [*range(1, 11), 20, 40]


def test_max_steps_ends_the_script_there_with_code_0(tmp_path: Path, nursery: Nursery) -> None:
    guarded = "try:\n" + "".join(f"    {line}\n" for line in STEP.strip().splitlines()) + "except Exception: pass"
    write(tmp_path / "train.py", loop(50, guarded, end="print('never')"))
    ended = nursery.run(tmp_path, "--max-steps", "7", "train.py")
    assert (ended.code, len(ended.out.splitlines())) == (0, 6)
    assert (ended.record.step_count, ended.record.facts.ending) == (7, "stopped")


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}], ids=["plain", "NO_COLOR"])
def test_no_escape_code_reaches_what_is_no_terminal(variables: dict[str, str], tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", loop(3))
    ended = nursery.run(tmp_path, "train.py", **variables)
    assert b"\x1b" not in ended.out
    assert "\x1b" not in ended.err
