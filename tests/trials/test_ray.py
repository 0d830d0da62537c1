"""Races on a real Ray cluster of several nodes, started on this machine: the same results, whatever happens to a node."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from test_local import TRAIN, examine, gone

from unvanish.errors import TrialError, UsageError
from unvanish.record.races.candidate import CONTROL
from unvanish.record.races.verdict import TrialResult
from unvanish.trials import Script, Trial, TrialEvent, run_trials
from unvanish.trials.engines.engine import EngineOptions
from unvanish.trials.engines.ray_actor import NodeInfo, installed_versions
from unvanish.trials.engines.ray_connection import open_ray_engine
from unvanish.trials.engines.ray_engine import MAX_RESTARTS
from unvanish.trials.engines.ray_slots import require_same_versions
from unvanish.trials.isolation.workplace import restore_user_paths
from unvanish.trials.trial import TrialState

SMALL = {"object_store_memory": 80 * 2**20}

# Says where it is, and while HOLD exists it stays at its eighth step.
PLAIN = (
    "STEPS, RATE = 20, 0.5\n"
    + TRAIN.replace(
        "    print(repr", "    while step == 8 and HOLD.exists():\n        HOLD.with_name(str(os.getpid())).touch()\n    print(repr"
    )
    + "print('val_acc: 50%')\n"
    + "print(os.getcwd(), torch.get_num_threads(), os.environ['WISH'], os.environ.get('CUDA_VISIBLE_DEVICES', ''))\n"
)


@dataclass
class Ground:
    """A cluster of a head without CPUs and two nodes of one CPU, and a folder with scripts and for the nodes' temporary files."""

    cluster: Cluster
    folder: Path
    nodes: list[Any] = field(default_factory=list)

    def add_node(self, **options: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TMPDIR", str(self.folder / "temporary"))
            self.nodes.append(self.cluster.add_node(num_cpus=1, **SMALL, **options))

    def script(self, name: str, text: str) -> Script:
        path = self.folder / f"{name}.py"
        path.write_text(f"import os, signal, time\nfrom pathlib import Path\nHOLD = Path({str(self.folder / 'hold')!r})\n{text}")
        return Script(path)

    def trial(self, script: Script, seed: int, name: str, **options: Any) -> Trial:
        return Trial(script, CONTROL, seed, self.folder / f"{name}-{seed}", **options)

    def options(self, **options: Any) -> EngineOptions:
        return EngineOptions(examine, address=self.cluster.address, **options)

    def processes_at_hold(self) -> list[int]:
        """The processes that have come to the step at which they are held."""
        return [int(path.name) for path in self.folder.iterdir() if path.name.isdigit()]

    def wait_until_no_trial_is_left(self) -> None:
        """Returns once no node has a folder of a trial."""
        until = time.monotonic() + 30
        while folders := list(Path(self.folder / "temporary").iterdir()):
            assert time.monotonic() < until, f"left behind: {folders}"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("ray")
    (folder / "temporary").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("WISH", "granted")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **SMALL})
        ground = Ground(cluster, folder)
        try:
            ground.add_node()
            ground.add_node()
            yield ground
        finally:
            cluster.shutdown()


@pytest.fixture(scope="module")
def local(ground: Ground) -> list[TrialResult]:
    """The results of the plain script on this machine, for two seeds."""
    plain = ground.script("plain", PLAIN)
    return run_trials([ground.trial(plain, seed, "local", isolated=True) for seed in (0, 1)], examine=examine, jobs=2)


def without_timing(result: TrialResult) -> TrialResult:
    """A result without the fields that differ from run to run."""
    return replace(result, step_ms=0.0, memory_bytes=0)


def test_a_race_on_a_cluster_has_the_results_of_this_machine_and_more_paused_trials_than_cpus(
    ground: Ground, local: list[TrialResult]
) -> None:
    events: list[TrialEvent] = []
    plain = ground.script("plain", PLAIN)
    trials = [ground.trial(plain, seed, "far", isolated=True) for seed in (0, 1, 2)]
    with open_ray_engine(ground.options(on_event=events.append)) as engine:
        assert engine.capacity == 2
        paused = engine.advance([(trial, 5) for trial in trials])
        engine.stop(trials[2:])
        ended = engine.advance([(trial, None) for trial in trials[:2]])
        assert ray.is_initialized()
    assert not ray.is_initialized()
    assert [(r.steps, r.paused, r.findings, r.failure) for r in paused] == [(5, True, (), None)] * 3
    assert paused[0].losses == local[0].losses[:5]
    assert [without_timing(result) for result in ended] == [without_timing(result) for result in local]
    assert all(50e6 < result.memory_bytes < 5e9 and result.step_ms > 0 for result in ended)
    far, near = ground.folder / "far-0", ground.folder / "local-0"
    assert {path.name for path in far.iterdir()} == {path.name for path in near.iterdir()}
    printed = [restore_user_paths(folder, (folder / "stdout.txt").read_text()) for folder in (far, near)]
    assert printed[0] == printed[1]
    assert printed[0].splitlines()[-1].split() == [str(Path.cwd()), "1", "granted"]
    states = [(event.trial.seed, event.state) for event in events if event.state is not TrialState.RUNNING]
    assert sorted(states[:3]) == [(seed, TrialState.PAUSED) for seed in (0, 1, 2)]
    assert states[3] == (2, TrialState.STOPPED)
    assert sorted(states[4:]) == [(0, TrialState.ENDED), (1, TrialState.ENDED)]
    started = [event.trial.seed for event in events if event.state is TrialState.RUNNING and event.step == 0]
    assert sorted(started) == [0, 1, 2], "a trial was trained twice"
    ground.wait_until_no_trial_is_left()


def test_a_trial_lost_with_its_node_runs_again_on_another_with_the_same_result(ground: Ground, local: list[TrialResult]) -> None:
    plain, hold = ground.script("plain", PLAIN), ground.folder / "hold"
    events: list[TrialEvent] = []

    def kill_a_node() -> None:
        while len(ground.processes_at_hold()) < 2:
            time.sleep(0.05)
        ground.cluster.remove_node(ground.nodes.pop(), allow_graceful=False)
        hold.unlink()

    hold.touch()
    killer = threading.Thread(target=kill_a_node, daemon=True)
    killer.start()
    trials = [ground.trial(plain, seed, "lost") for seed in (0, 1)]
    with open_ray_engine(ground.options(on_event=events.append)) as engine:
        assert [result.steps for result in engine.advance([(trial, 5) for trial in trials])] == [5, 5]
        results = engine.advance([(trial, None) for trial in trials])
    killer.join()
    ground.add_node()
    assert [without_timing(result) for result in results] == [without_timing(result) for result in local]
    started = [event.trial.seed for event in events if event.state is TrialState.RUNNING and event.step == 0]
    assert len(started) == 3, "no trial was lost"
    assert all(gone(pid) for pid in ground.processes_at_hold())
    ground.wait_until_no_trial_is_left()


def test_a_trial_that_is_lost_too_often_fails_with_that_reason(ground: Ground) -> None:
    deadly = ground.script("deadly", "os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(600)")
    events: list[TrialEvent] = []
    with open_ray_engine(ground.options(on_event=events.append)) as engine:
        (result,) = engine.advance([(ground.trial(deadly, 0, "deadly"), None)])
    assert result.failure is not None
    assert result.failure.startswith(f"lost with its node or its Ray actor {MAX_RESTARTS + 1} times, the last time: The actor")
    assert sum(event.state is TrialState.RUNNING for event in events) == MAX_RESTARTS + 1
    ground.wait_until_no_trial_is_left()


def test_a_script_or_folder_missing_on_a_node_is_named_with_its_path(ground: Ground) -> None:
    absent = ground.folder / "absent"
    there = ground.script("there", "print(1)")
    with open_ray_engine(ground.options()) as engine:
        results = engine.advance(
            [
                (ground.trial(Script(absent / "train.py"), 0, "absent"), None),
                (ground.trial(there, 1, "absent", cwd=absent), None),
            ]
        )
    assert [str(result.failure).partition(" is not on the node ")[0] for result in results] == [
        str(absent / "train.py"),
        str(absent),
    ]
    assert all("at the same path" in str(result.failure) for result in results)


def test_ctrl_c_ends_all_actors_and_keeps_the_results_so_far(ground: Ground) -> None:
    pid = ground.folder / "pid"
    endless = ground.script("endless", f"Path({str(pid)!r}).write_text(str(os.getpid()))\ntime.sleep(600)")
    quick = ground.script("quick", "print(1)")
    trials = [ground.trial(endless, 0, "endless"), ground.trial(quick, 0, "quick")]

    def interrupt(event: TrialEvent) -> None:
        while event.result is not None and not pid.exists():
            time.sleep(0.05)
        if event.result is not None:
            raise KeyboardInterrupt

    with open_ray_engine(ground.options(on_event=interrupt)) as engine:
        ended = engine.advance([(trial, None) for trial in trials])
        assert [result.failure for result in ended] == ["the script ended before it imported torch"]
        assert gone(int(pid.read_text()))
    ground.wait_until_no_trial_is_left()


def test_after_the_deadline_no_trial_continues(ground: Ground) -> None:
    endless = ground.script("endless", "time.sleep(600)")
    with open_ray_engine(ground.options(deadline=time.monotonic() + 3.0)) as engine:
        assert engine.advance([(ground.trial(endless, 0, "late"), None)]) == []
    ground.wait_until_no_trial_is_left()


def test_where_memory_is_short_a_trial_that_waits_makes_room_and_a_gpu_is_given_till_it_is_known_not_to_be_used(
    ground: Ground, local: list[TrialResult]
) -> None:
    ground.add_node(num_gpus=1, memory=1)
    plain, other = ground.script("plain", PLAIN), ground.script("other", "print(os.environ['CUDA_VISIBLE_DEVICES'])")
    trial, others = ground.trial(plain, 0, "gpu"), [ground.trial(other, seed, "other") for seed in (0, 1)]
    events: list[TrialEvent] = []
    try:
        with open_ray_engine(ground.options(jobs=1, on_event=events.append)) as engine:
            for goal in ((trial, 5), (others[0], None), (trial, None), (others[1], None)):
                (result,) = engine.advance([goal])
                if goal == (trial, None):
                    assert without_timing(result) == without_timing(local[0])
    finally:
        ground.cluster.remove_node(ground.nodes.pop())
    assert sum(event.trial == trial and event.state is TrialState.RUNNING and event.step == 0 for event in events) == 2, (
        "it made no room"
    )
    last = [(each.folder / "stdout.txt").read_text().splitlines()[-1] for each in (trial, *others)]
    assert last == [f"{Path.cwd()} 1 granted 0", "0", ""]


def test_a_connection_that_was_there_before_is_used_and_stays(ground: Ground) -> None:
    ray.init(address=ground.cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        with open_ray_engine(EngineOptions(examine)) as engine:
            (result,) = engine.advance([(ground.trial(ground.script("quick", "print(1)"), 0, "before"), None)])
        assert result.failure == "the script ended before it imported torch"
        assert ray.is_initialized()
        with pytest.raises(UsageError, match="give no address"):
            open_ray_engine(ground.options())
    finally:
        ray.shutdown()


@pytest.mark.parametrize(
    ("address", "message"),
    [("local", "would start a cluster"), ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1"), ("nonsense", "Invalid address")],
)
def test_an_address_without_a_cluster_is_refused_with_what_to_do(address: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        open_ray_engine(EngineOptions(examine, address=address))
    assert "ray start --head" in str(refused.value)


def test_a_variable_that_would_start_a_cluster_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with pytest.raises(UsageError, match="would start a cluster"):
        open_ray_engine(EngineOptions(examine))


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'unvanish\[ray\]'"):
        open_ray_engine(EngineOptions(examine))


def test_a_node_with_another_torch_is_refused() -> None:
    other = tuple((name, "0.1" if name == "torch" else version) for name, version in installed_versions())
    with pytest.raises(TrialError, match=r"the node 10\.0\.0\.2 of the Ray cluster has torch 0\.1"):
        require_same_versions(NodeInfo("1", "10.0.0.2", other, ""))
