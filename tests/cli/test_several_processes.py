"""`unvanish run` follows a script into its processes: they train as they do alone, and one report says where they differ."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from child_processes import Nursery, environment, write

from unvanish.record.storage.journal import load

START = """
import os, sys
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))

def join(rank, count):
    dist.init_process_group("gloo", init_method="file://" + os.path.abspath("meeting"), rank=rank, world_size=count)

def train(network, seed, steps=22, size=32, spoil=None, show=True):
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(1, steps + 1):
        x = torch.randn(size, 8, generator=generator)
        y = x[:, :3].argmax(1)
        if step == spoil:
            x[0, 0] = float("nan")
        loss = nn.functional.cross_entropy(network(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if show:
        print("rank val_loss", loss.item(), flush=True)
"""

END = """
if __name__ == "__main__":
    mp.start_processes(work, nprocs={count}, start_method="fork")
    print("end", sorted(name for name in os.environ if "UNVANISH" in name or name == "PYTHONPATH"))
    sys.exit(5)
"""

DDP = """
def work(rank):
    join(rank, 2)
    train(DistributedDataParallel(build()), seed=rank, size=32 + 32 * rank, show=rank == 0)
"""
LOST = """
def work(rank):
    join(rank, 2)
    train(build(), seed=0 if sys.argv[1:] else rank, spoil=13 if rank == 1 and not sys.argv[1:] else None, show=rank == 0)
"""
FSDP = """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

def work(rank):
    join(rank, 4)
    network, mesh = build(), init_device_mesh("cpu", (4,))
    for layer in network:
        if isinstance(layer, nn.Linear):
            fully_shard(layer, mesh=mesh)
    fully_shard(network, mesh=mesh)
    train(network, seed=rank, show=rank == 0)
"""
WHOLE = """
def draw(generators):
    x = torch.cat([torch.randn(32, 8, generator=generator) for generator in generators])
    return x, x[:, :3].argmax(1)

network, generators = build(), [torch.Generator().manual_seed(seed) for seed in range(4)]
optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
for step in range(22):
    x, y = draw(generators)
    loss = nn.functional.cross_entropy(network(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
"""
HOGWILD = """
class Dataset(torch.utils.data.Dataset):
    def __init__(self):
        self.scale = nn.Linear(8, 8)
    def __len__(self):
        return 64
    def __getitem__(self, index):
        return self.scale(torch.ones(8)).detach()

def work(number, network):
    for batch in torch.utils.data.DataLoader(Dataset(), num_workers=1, batch_size=32, multiprocessing_context="fork"):
        pass
    train(network, seed=number, show=False)
    os._exit(7) if number else None

if __name__ == "__main__":
    network = build().share_memory()
    processes = [mp.get_context("fork").Process(target=work, args=(number, network)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    print([process.exitcode for process in processes])
"""


def run_json(nursery: Nursery, folder: Path, *arguments: str) -> tuple[Any, Any]:
    """How the run ended, and its document; the script's output comes first."""
    for name in ("meeting", "diagnosis.json"):
        (folder / name).unlink(missing_ok=True)
    ended = nursery.run(folder, "--json", "diagnosis.json", "--every", "1", *arguments)
    return ended, json.loads((folder / "diagnosis.json").read_text())


def test_forked_ranks_train_as_alone_and_one_report_names_them(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", START + DDP + END.format(count=2))
    alone = nursery.python(tmp_path, "train.py")
    watched, document = run_json(nursery, tmp_path, "train.py")
    assert (watched.out, watched.code) == (alone.out, alone.code) == (watched.out, 5), watched.err
    assert [(rank["rank"], rank["steps"], rank["ending"], rank["examples"]) for rank in document["ranks"]] == [
        (0, 22, "finished", 32.0),
        (1, 22, "finished", 64.0),
    ]
    assert [rank["differs_from"] for rank in document["ranks"]] == [None, None]
    assert document["rank_differences"] == ["They saw different numbers of examples in a step: rank 0 32, rank 1 64."]
    assert watched.err.count("report  ") == 1
    assert "2 processes: ranks 0 and 1" in watched.err
    assert sorted(path.name for path in (tmp_path / "run" / "ranks").iterdir()) == ["0.sqlite", "1.sqlite"]
    record = watched.record
    assert record.sampled.tolist() == list(range(1, 23))
    assert [metric.name for metric in record.metrics] == ["val_loss"]
    assert record.readings["batch_size"][-1].tolist() == [96.0]


def test_what_one_rank_does_otherwise_is_named(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", START + LOST + END.format(count=2))
    _, document = run_json(nursery, tmp_path, "train.py")
    text = "\n".join(document["rank_differences"])
    assert "Rank 1 computed NaN or infinite values first, at step 13" in text
    assert "The processes train different weights from step " in text
    shutil.rmtree(tmp_path / "run")
    _, document = run_json(nursery, tmp_path, "train.py", "same")
    (difference,) = document["rank_differences"]
    assert difference.startswith("Every process had the same losses to the last digit")


def test_sizes_of_a_sharded_network_are_those_of_the_whole(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", START + FSDP + END.format(count=4))
    write(tmp_path / "whole.py", START + WHOLE)
    sharded, document = run_json(nursery, tmp_path, "train.py")
    assert sharded.code == 5, sharded.err
    assert document["rank_differences"] == []
    merged = sharded.record
    shutil.rmtree(tmp_path / "run")
    whole = nursery.run(tmp_path, "--every", "1", "whole.py").record
    names = [parameter.name for parameter in whole.structure.parameters]
    assert [parameter.name for parameter in merged.structure.parameters] == names
    for name in ("log10_weight_rms", "log10_weight_gradient_rms", "log10_update_rms"):
        np.testing.assert_allclose(merged.readings[name], whole.readings[name], atol=2e-3, err_msg=name)
    for name in ("gradient_along_weight", "gradient_agreement"):
        np.testing.assert_allclose(merged.readings[name], whole.readings[name], atol=0.01, err_msg=name)
    # Outputs are described by 32 examples of each process: of the single one by 32 in all.
    np.testing.assert_allclose(merged.readings["activation_std"], whole.readings["activation_std"], rtol=0.3)
    np.testing.assert_allclose(merged.objective()[1], whole.objective()[1], rtol=1e-4)


def test_processes_without_a_group_are_seen_and_loader_workers_are_not(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", START + HOGWILD)
    alone = nursery.python(tmp_path, "train.py")
    watched, document = run_json(nursery, tmp_path, "train.py")
    assert (watched.out, watched.code) == (alone.out, alone.code) == (b"[0, 7]\n", 0), watched.err
    assert [(rank["rank"], rank["steps"], rank["ending"]) for rank in document["ranks"]] == [
        (None, 22, "finished"),
        (None, 22, "exit code 7"),
    ]
    assert document["rank_differences"] == ["Process 2 ended with exit code 7 at step 22."]


SICK = """
def build():
    torch.manual_seed(0)
    layers = [layer for _ in range(7) for layer in (nn.Linear(8, 8), nn.Sigmoid())]
    return nn.Sequential(*layers, nn.Linear(8, 3))

def work(rank):
    join(rank, 2)
    network = build()
    network = DistributedDataParallel(network)
    train(network, seed=rank, show=rank == 0)
    with open(f"rank{rank}.txt", "w") as file:
        file.write("done")
"""


def test_trials_of_a_script_with_ranks_run_the_edit_in_each_and_write_nothing(tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", START + SICK + END.format(count=2).replace("sys.exit(5)", ""))
    text = (tmp_path / "train.py").read_text()
    options = ("--out", "run", "--json", "fix.json", "--seeds", "1", "--remedy", "relu+he-init", "--jobs", "1", "--steps", "12")
    ended = nursery.unvanish(tmp_path, "fix", *options, "train.py")
    document = json.loads((tmp_path / "fix.json").read_text())
    assert document["steps"] == 12, ended.err
    (verdict,) = document["verdicts"]
    assert verdict["outcome"] != "failed", ended.err
    assert verdict["steps"] == 12
    assert abs(verdict["treated"] - verdict["control"]) > 1e-3
    assert [rank["rank"] for rank in document["ranks"]] == [0, 1]
    assert (tmp_path / "train.py").read_text() == text
    assert {path.name for path in tmp_path.iterdir()} <= {"train.py", "run", "fix.json", ".out", ".err"}


LAUNCHED = """
def work(rank):
    join(rank, 2)
    train(DistributedDataParallel(build()), seed=rank, show=rank == 0)
    if rank and sys.argv[1:]:
        raise ValueError("no more")

work(int(os.environ["RANK"]))
"""
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.mark.skipif(sys.platform != "linux", reason="launches processes")
def test_a_launcher_is_followed_and_a_rank_that_dies_is_named(tmp_path: Path) -> None:
    write(tmp_path / "train.py", START + LAUNCHED)
    command = [sys.executable, "-m", "unvanish", "run", "--out", "run", "--json", "run.json", *LAUNCHER, "train.py", "fail"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200)
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout.startswith("rank val_loss ")
    assert ended.stdout.count("\n") == 1
    assert "ValueError: no more" in ended.stderr
    document = json.loads((tmp_path / "run.json").read_text())
    assert [(rank["rank"], rank["steps"]) for rank in document["ranks"]] == [(0, 22), (1, 22)]
    assert "Rank 1 ended with ValueError at step 22." in document["rank_differences"]


@pytest.mark.skipif(sys.platform != "linux", reason="launches processes")
def test_ranks_that_are_each_watched_share_one_folder_and_one_report(tmp_path: Path) -> None:
    write(tmp_path / "train.py", START + LAUNCHED)
    command = [sys.executable, *LAUNCHER, "-m", "unvanish", "run", "train.py"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("report  ") == 1
    (folder,) = (tmp_path / "unvanish-runs").iterdir()
    assert [rank.process.rank for rank in load(folder / "run.sqlite").facts.ranks] == [0, 1]
