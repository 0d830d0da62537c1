"""Following a script into its processes changes nothing for them, and costs those nothing that never import torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from unvanish.observe import Settings
from unvanish.observe.sampling_schedule import Schedule
from unvanish.trials.children.describe_process import describe_process
from unvanish.trials.children.environment import ChildEnvironment
from unvanish.trials.children.follow_order import FOLLOW, STARTUP_FOLDER, FollowOrder

CHILD = """
import json, os, sys
ours = sorted(name for name in sys.modules if name.split(".")[0] in ("unvanish", "numpy", "torch"))
print(json.dumps([sorted(os.environ), sys.path, ours]))
print(os.environ.get("PYTHONPATH"), "own" if "marked" in vars(sys.modules.get("sitecustomize", os)) else "none")
"""
STARTS_GRANDCHILD = """
import subprocess, sys
print(subprocess.run([sys.executable, "-c", "import os; print(open('/proc/self/environ').read().count('UNVANISH'))"],
                     capture_output=True, text=True).stdout)
"""


def order(folder: Path) -> FollowOrder:
    return FollowOrder(str(folder), "train.py", ("--lr", "0.1"), every=3)


def run_child(code: str, **options: object) -> str:
    """What `python -c code` prints, in the folder of the sitecustomize."""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload]
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_a_child_sees_nothing_of_us_and_loads_nothing_of_us(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("marked = True\n")
    given = {**os.environ, "PYTHONPATH": str(tmp_path)}
    alone = [run_child(CHILD), run_child(CHILD, env=given)]
    environment = ChildEnvironment(order(tmp_path))
    before = dict(os.environ)
    environment.install()
    try:
        followed = [run_child(CHILD), run_child(CHILD, env=given)]
        assert dict(os.environ) == before
        assert FOLLOW not in given
        assert run_child(STARTS_GRANDCHILD).split() == ["1"]
        count = subprocess.run(["/bin/sh", "-c", "env | grep -c UNVANISH"], capture_output=True, text=True, check=False)
        assert count.stdout.split() == ["1"]
    finally:
        environment.remove()
    assert followed == alone
    assert alone[1].endswith("own\n")
    assert run_child("import os; print(open('/proc/self/environ').read().count('UNVANISH'))") == "0\n"


def test_another_python_is_left_alone_and_a_broken_order_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import sys\nprint(sorted(n for n in sys.modules if n == 'unvanish.observe.observer'))\n")
    code = "import torch, sys; print(torch.__spec__.name, type(torch.__loader__).__name__)"
    for text in (FollowOrder(str(tmp_path), "train.py", prefix="/elsewhere").encode(), "{", ""):
        given = {**os.environ, "PYTHONPATH": os.pathsep.join([str(STARTUP_FOLDER), str(tmp_path)]), FOLLOW: text}
        assert run_child(code, env=given) == "[]\ntorch SourceFileLoader\n"


def test_a_process_is_described_by_its_launcher_before_it_has_joined_a_group() -> None:
    variables = {"RANK": "3", "WORLD_SIZE": "8", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
    process = describe_process(variables)
    assert (process.rank, process.world_size, process.job, process.label) == (3, 8, "node1:29500", "rank 3")
    assert describe_process({}).rank is None
    assert describe_process({"RANK": "x", "WORLD_SIZE": ""}).rank is None


def test_processes_of_one_training_sample_common_steps_whatever_each_affords() -> None:
    sampled = []
    for cost in (0.02, 0.033, 0.05, 0.11):
        schedule, spent = Schedule(Settings(budget=0.01, is_one_of_many=True)), 0.0
        steps = []
        for step in range(1, 4001):
            if schedule.should_sample(step, own_s=spent, elapsed_s=step * 0.1):
                steps.append(step)
                spent += cost
                schedule.record_sample(step, cost)
        sampled.append(steps)
        assert spent <= 0.01 * 400 + 20 * cost
    common = set.intersection(*map(set, sampled))
    assert len(common) > 0.6 * min(map(len, sampled))
