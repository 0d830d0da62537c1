"""`python -m benchmarks.ray_throughput [--pairs N]`: trials a minute of a Ray cluster with two workers over those with one.

A cluster of two nodes with one CPU each is started here, and the same trials run on it with one worker and with two, in turn.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from unvanish.record.races.candidate import CONTROL
from unvanish.trials import Script, Trial
from unvanish.trials.engines.engine import EngineOptions
from unvanish.trials.engines.ray_connection import open_ray_engine

TRIALS = 4
WORKERS = 2
TARGET_RATIO = 1.6  # times the throughput of one worker
OBJECT_STORE_BYTES = 80 * 2**20  # bytes of each node's object store
TRAINING_SCRIPT = """
import torch
from torch import nn
torch.manual_seed(0)
x, y = torch.randn(256, 64), torch.randint(0, 10, (256,))
net = nn.Sequential(*(layer for _ in range(12) for layer in (nn.Linear(64, 64), nn.Tanh())), nn.Linear(64, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for step in range(3000):
    optimizer.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()
"""


@dataclass(frozen=True, slots=True)
class Throughput:
    """Trials a minute with one worker and with two, their ratio, and how many processes wanted a core before and after."""

    one: float
    two: float
    load: tuple[float, float]

    @property
    def ratio(self) -> float:
        return self.two / self.one


def measure(pairs: int) -> list[Throughput]:
    """One row for each pair of measurements."""
    with tempfile.TemporaryDirectory() as name, _start_cluster() as address:
        folder = Path(name)
        (folder / "train.py").write_text(TRAINING_SCRIPT)
        return [_measure_pair(address, folder, number) for number in range(pairs)]


def format_table(rows: list[Throughput]) -> str:
    """The rows as text, with the median of the ratios."""
    lines = ["one worker  two workers  ratio  load before and after", *(_format_row(row) for row in rows)]
    median = statistics.median(row.ratio for row in rows)
    return "\n".join([*lines, f"Two workers do {median:.2f} times the trials of one (the bar on two idle cores: {TARGET_RATIO})."])


def _format_row(row: Throughput) -> str:
    return f"{row.one:>7.2f}/min  {row.two:>8.2f}/min  {row.ratio:>5.2f}  {row.load[0]:.1f}, {row.load[1]:.1f}"


def _measure_pair(address: str, folder: Path, number: int) -> Throughput:
    before = os.getloadavg()[0]
    one, two = (_trials_per_minute(address, folder / f"{number}-{workers}", workers) for workers in (1, WORKERS))
    return Throughput(one, two, (before, os.getloadavg()[0]))


def _trials_per_minute(address: str, folder: Path, workers: int) -> float:
    """How many trials end in a minute, once each worker has started."""
    script = Script(folder.parent / "train.py")
    with open_ray_engine(EngineOptions(lambda _: [], jobs=workers, address=address)) as engine:
        engine.advance([(Trial(script, CONTROL, seed, folder / f"warm-{seed}"), 1) for seed in range(workers)])
        engine.stop([Trial(script, CONTROL, seed, folder / f"warm-{seed}") for seed in range(workers)])
        start = time.monotonic()
        results = engine.advance([(Trial(script, CONTROL, seed, folder / str(seed)), None) for seed in range(TRIALS)])
        seconds = time.monotonic() - start
    failures = [result.failure for result in results if result.failure]
    if failures or len(results) < TRIALS:
        raise SystemExit(f"not all trials ended well: {failures}")
    return TRIALS * 60 / seconds


@contextmanager
def _start_cluster() -> Generator[str]:
    """The address of a cluster of as many nodes as there are workers, each with one CPU."""
    with patch.dict(os.environ, RAY_USAGE_STATS_ENABLED="0", OMP_NUM_THREADS="1"):
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(WORKERS):
                cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES)
            yield cluster.address
        finally:
            cluster.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3, help="pairs of measurements")
    print(format_table(measure(parser.parse_args().pairs)))
