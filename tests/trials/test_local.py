"""Real trials in processes of their own: their results, how they fail, and that none outlives its race."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import unvanish
from unvanish.errors import TrialError
from unvanish.record.finding import Finding, Severity
from unvanish.record.races.candidate import CONTROL, Candidate
from unvanish.record.races.verdict import TrialResult
from unvanish.record.run import Run
from unvanish.trials import Script, Trial, TrialEvent, run_trials
from unvanish.trials.engines.local import LocalEngine
from unvanish.trials.failures import MEMORY_ADVICE
from unvanish.trials.isolation.workplace import create_workplace
from unvanish.trials.machine_resources import usable_cores
from unvanish.trials.pause_gate import ABANDONED_EXIT_CODE
from unvanish.trials.progress import read_progress
from unvanish.trials.trial import TrialState, save_job

TRAIN = """
import sys
import torch
from torch import nn
torch.manual_seed(0)
x = torch.randn(32, 4)
y = (x.sum(1) > 0).long()
net = nn.Sequential(nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 2))
optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
for step in range(STEPS):
    loss = nn.functional.cross_entropy(net(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(repr(loss.item()))
"""

# What each script is, and what it does after (or instead of) its training.
TEXTS = {
    "plain": TRAIN + "print('val_acc: 50%')",
    "logs": TRAIN + "print('val_acc: 50%')\nimport unvanish\nunvanish.log(val_accuracy=0.75)",
    "diverges": "RATE = 1e30\n" + TRAIN,
    "raises": TRAIN
    + """
class Weak(nn.Module):
    def forward(self, x):
        return {}["lr"]
nn.Sequential(nn.Identity(), Weak())(x)
""",
    "says its surroundings": TRAIN
    + """
import os, subprocess
print(sys.argv, os.getcwd(), __name__, torch.get_num_threads(), os.environ["PYTHONHASHSEED"])
print(subprocess.Popen(["sleep", "600"]).pid)
""",
    "without a step": "import torch\nprint(torch.ones(1))",
    "without torch": "import sys\nprint({'numpy', 'torch'} & set(sys.modules))",
    "exits": "import sys\nprint('no data', file=sys.stderr)\nsys.exit(3)",
    "is killed": "import os\nos.kill(os.getpid(), 9)",
    "is refused": "from unvanish.errors import NotApplicable\nraise NotApplicable('no sigmoid here')",
    "asks": "name = input()\n",
}


def script(folder: Path, name: str) -> Script:
    path = folder / f"{name.replace(' ', '_')}.py"
    path.write_text("STEPS, RATE = 20, 0.5\n" + TEXTS[name])
    return Script(path, arguments=("--lr", "1"))


def examine(run: Run) -> Sequence[Finding]:
    """A loud finding and a quiet one for every run."""
    return [Finding(code, severity, 1.0, "", "") for code, severity in (("loud", Severity.WARNING), ("quiet", Severity.INFO))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trials")


@pytest.fixture(scope="module")
def events() -> list[TrialEvent]:
    return []


@pytest.fixture(scope="module")
def results(folder: Path, events: list[TrialEvent]) -> dict[str, TrialResult]:
    """Every script run once, two at a time; and the plain one once more with another seed, an edit, and fewer steps."""
    plain = script(folder, "plain")
    trials = {name: Trial(script(folder, name), CONTROL, 0, folder / "out" / name) for name in TEXTS}
    trials["shifted"] = Trial(plain, Candidate(("relu",)), 1, folder / "out" / "shifted")
    trials["edited"] = Trial(plain, Candidate(("elu",)), 0, folder / "out" / "edited", edits=((plain.path or folder, EDIT),))
    trials["short"] = Trial(plain, CONTROL, 0, folder / "out" / "short", max_steps=5)
    ended = run_trials(list(trials.values()), examine=examine, jobs=2, on_event=events.append)
    return dict(zip(trials, ended, strict=True))


THREADS = os.environ.get("OMP_NUM_THREADS", str(usable_cores()))
EDIT = "STEPS, RATE = 20, 0.5\n" + TRAIN.replace("nn.Sigmoid()", "nn.ReLU()") + "print('val_acc: 100%')"


def printed_losses(text: str) -> list[float]:
    return [float(line) for line in text.splitlines() if line[0].isdigit()]


def test_a_trial_has_the_losses_of_the_script_run_alone(results: dict[str, TrialResult], folder: Path) -> None:
    command = [sys.executable, str(folder / "plain.py")]
    alone = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (folder / "out" / "plain" / "stdout.txt").read_text() == alone.stdout
    assert list(results["plain"].losses) == pytest.approx(printed_losses(alone.stdout), abs=0)


def test_a_result_has_steps_loss_metrics_findings_and_cost(results: dict[str, TrialResult]) -> None:
    plain = results["plain"]
    assert (plain.failure, plain.candidate, plain.seed, plain.steps) == (None, CONTROL, 0, 20)
    assert plain.final_loss == pytest.approx(sum(plain.losses[-2:]) / 2)
    assert dict(plain.metrics)["val_accuracy"] == 0.5
    assert plain.findings == ("loud",)
    assert plain.parameters == 4 * 4 + 4 + 4 * 2 + 2
    assert plain.step_ms > 0
    assert 50e6 < plain.memory_bytes < 5e9


def test_a_logged_metric_replaces_a_printed_one(results: dict[str, TrialResult]) -> None:
    assert dict(results["logs"].metrics)["val_accuracy"] == 0.75


def test_a_shifted_seed_gives_another_training(results: dict[str, TrialResult]) -> None:
    assert results["shifted"].losses != results["plain"].losses
    assert results["shifted"].seed == 1


def test_an_edit_is_what_runs_and_the_file_stays(results: dict[str, TrialResult], folder: Path) -> None:
    assert dict(results["edited"].metrics)["val_accuracy"] == 1.0
    assert results["edited"].losses != results["plain"].losses
    assert "ReLU" not in (folder / "plain.py").read_text()


def test_a_trial_stops_at_its_last_step_without_failing(results: dict[str, TrialResult]) -> None:
    short = results["short"]
    assert (short.steps, short.failure) == (5, None)
    assert short.losses == results["plain"].losses[:5]


def test_a_training_that_diverges_is_a_result(results: dict[str, TrialResult]) -> None:
    assert results["diverges"].failure is None
    assert results["diverges"].final_loss > 1e10
    assert not math.isnan(results["diverges"].final_loss)


FAILURES = {
    "raises": "crashed: KeyError: 'lr'",
    "without a step": "the script made no training step",
    "without torch": "the script ended before it imported torch",
    "exits": "ended with exit code 3: no data",
    "is killed": f"out of memory, as it seems: killed by SIGKILL, as the system does where memory runs out; {MEMORY_ADVICE}",
    "is refused": "not applied: no sigmoid here",
    "asks": "asks for input: EOFError: EOF when reading a line; a trial has none; give the answer as an argument of the script",
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_trial_has_its_reason_in_one_line(name: str, results: dict[str, TrialResult]) -> None:
    assert results[name].failure == FAILURES[name]


def test_a_traceback_from_an_observed_network_has_no_frame_of_this_package(results: dict[str, TrialResult], folder: Path) -> None:
    assert results["raises"].failure is not None
    errors = (folder / "out" / "raises" / "stderr.txt").read_text()
    assert "in forward" in errors
    assert str(Path(unvanish.__file__).parent) not in errors


def test_a_failed_trial_keeps_the_losses_until_then(results: dict[str, TrialResult]) -> None:
    assert results["raises"].losses == results["plain"].losses


def test_a_script_gets_its_usual_arguments_and_folder_and_as_many_threads_as_alone(
    results: dict[str, TrialResult], folder: Path
) -> None:
    assert results["says its surroundings"].failure is None
    line = (folder / "out" / "says its surroundings" / "stdout.txt").read_text().splitlines()[-2]
    assert line.startswith(f"['{folder}/says_its_surroundings.py', '--lr', '1'] {Path.cwd()} __main__ {THREADS} 0")


def test_torch_and_numpy_are_not_imported_before_the_script_does(results: dict[str, TrialResult], folder: Path) -> None:
    assert results["without torch"].steps == 0
    assert (folder / "out" / "without torch" / "stdout.txt").read_text() == "set()\n"


def test_processes_that_a_script_leaves_running_end_with_it(results: dict[str, TrialResult], folder: Path) -> None:
    pid = int((folder / "out" / "says its surroundings" / "stdout.txt").read_text().splitlines()[-1])
    assert gone(pid)


def gone(pid: int) -> bool:
    """Whether a process is dead; one that nobody has collected yet counts."""
    for _ in range(100):
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_every_trial_has_an_event_at_its_start_and_at_its_end(results: dict[str, TrialResult], events: list[TrialEvent]) -> None:
    for result in results.values():
        own = [event for event in events if any(event.trial is end.trial for end in events if end.result is result)]
        assert (own[0].state, own[0].step, own[0].result) == (TrialState.RUNNING, 0, None)
        assert (own[-1].state, own[-1].step, own[-1].result) == (TrialState.ENDED, result.steps, result)


def test_a_trial_pauses_at_its_goals_and_trains_no_step_twice(results: dict[str, TrialResult], folder: Path) -> None:
    trial = Trial(script(folder, "plain"), CONTROL, 0, folder / "out" / "waits")
    with LocalEngine(examine=examine, jobs=1) as engine:
        (first,) = engine.advance([(trial, 5)])
        (second,) = engine.advance([(trial, 12)])
        (last,) = engine.advance([(trial, None)])
    assert [(r.steps, r.paused, r.findings) for r in (first, second, last)] == [
        (5, True, ()),
        (12, True, ()),
        (20, False, ("loud",)),
    ]
    assert first.losses == results["plain"].losses[:5]
    assert last.losses == results["plain"].losses
    assert first.memory_bytes > 50e6
    assert (folder / "out" / "waits" / "stdout.txt").read_text() == (folder / "out" / "plain" / "stdout.txt").read_text()


def test_where_memory_is_short_a_paused_trial_is_ended_and_starts_anew_later(results: dict[str, TrialResult], folder: Path) -> None:
    one, two = (Trial(script(folder, "plain"), CONTROL, seed, folder / "out" / f"short-{seed}") for seed in (0, 1))
    with LocalEngine(examine=examine, jobs=2, max_bytes=1) as engine:
        assert [r.steps for r in engine.advance([(one, 5), (two, 5)])] == [5, 5]
        assert [r.losses for r in engine.advance([(one, None)])] == [results["plain"].losses]


def test_a_stopped_trial_ends_and_so_does_one_whose_race_is_gone(folder: Path) -> None:
    events: list[TrialEvent] = []
    trials = [Trial(script(folder, "plain"), CONTROL, seed, folder / "out" / f"stopped-{seed}") for seed in (0, 1)]
    engine = LocalEngine(examine=examine, jobs=2, on_event=events.append)
    engine.advance([(trial, 5) for trial in trials])
    engine.stop(trials[:1])
    engine.close()
    assert [event.trial.seed for event in events if event.state is TrialState.STOPPED] == [0]
    job, (reading, writing) = save_job(trials[0]), os.pipe()
    mirror = create_workplace(job.parent, trials[0].script, Path.cwd())
    os.write(writing, b"5\n")
    command = [sys.executable, "-m", "unvanish.trials.worker", str(job), str(reading)]
    process = subprocess.Popen(command, pass_fds=(reading,), stdout=subprocess.DEVNULL)
    os.close(reading)
    while not (progress := read_progress(job.parent / "progress.txt")) or not progress.is_paused:
        time.sleep(0.02)
    os.close(writing)
    assert process.wait(30) == ABANDONED_EXIT_CODE
    assert mirror is not None
    assert not mirror.root.parent.exists()


ENDLESS = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n"


def test_ctrl_c_ends_running_trials_and_keeps_the_results_so_far(tmp_path: Path) -> None:
    (tmp_path / "quick.py").write_text("print(1)")
    (tmp_path / "endless.py").write_text(ENDLESS)
    trials = [Trial(Script(tmp_path / f"{name}.py"), CONTROL, 0, tmp_path / name) for name in ("endless", "quick")]
    trials.append(Trial(Script(tmp_path / "quick.py"), CONTROL, 1, tmp_path / "never"))

    def interrupt(event: TrialEvent) -> None:
        output = tmp_path / "endless" / "stdout.txt"
        while event.result is not None and not output.read_text():
            time.sleep(0.05)
        if event.result is not None:
            raise KeyboardInterrupt

    ended = run_trials(trials, examine=examine, jobs=2, on_event=interrupt)
    assert [result.failure for result in ended] == ["the script ended before it imported torch"]
    assert gone(int((tmp_path / "endless" / "stdout.txt").read_text()))
    assert not (tmp_path / "never").exists()


def test_ctrl_c_before_the_first_result_is_raised(tmp_path: Path) -> None:
    def interrupt(event: TrialEvent) -> None:
        raise KeyboardInterrupt

    (tmp_path / "endless.py").write_text(ENDLESS)
    with pytest.raises(KeyboardInterrupt):
        run_trials(
            [Trial(Script(tmp_path / "endless.py"), CONTROL, 0, tmp_path / "out")], examine=examine, jobs=1, on_event=interrupt
        )


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrialError, match="choose another folder"):
        run_trials([Trial(Script(tmp_path / "a.py"), CONTROL, 0, tmp_path / "file" / "out")], examine=examine, jobs=1)
