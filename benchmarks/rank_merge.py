"""Measures the merge of many processes' records into one: CPU seconds and memory for a hundred and for a thousand ranks."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

COUNTS = (100, 1000)
# Of each rank: a network of this size, at the steps that a run of a few thousand steps samples.
LAYERS, SAMPLES, STEPS = 24, 120, 3000

WRITE = """
import sys
from pathlib import Path
import numpy as np
from dataclasses import replace
from unvanish.record.quantities import Axis, quantities
from unvanish.record.ranks.process import TrainingProcess
from unvanish.record.run import Facts, Run
from unvanish.record.storage.run_folder import store_run
from unvanish.record.structure import ModelStructure, Network, OptimizerGroup, Parameter, Site

folder, layers, samples, steps = Path(sys.argv[1]), *map(int, sys.argv[2:])
(folder / "ranks").mkdir()
structure = ModelStructure(
    (Network("net", "Sequential"),),
    tuple(Site(0, str(i), "linear", "weight", i, parameters=(i,)) for i in range(layers)),
    tuple(Parameter(0, f"{i}.weight", (512, 512), group=0, local_size=262) for i in range(layers)),
    (OptimizerGroup(0, "AdamW", (("lr", 0.1),)),),
)
lengths = {Axis.SITE: layers, Axis.PARAMETER: layers, Axis.GROUP: 1, Axis.NETWORK: 1, Axis.HEAD: 0}
random = np.random.default_rng(0)
readings = {q.name: random.uniform(0.1, 1.0, (samples, lengths[axis])) for axis in Axis for q in quantities(axis)}
sampled = np.unique(np.geomspace(1, steps, samples * 2).astype(int))[:samples]
run = Run(Facts(ending="finished", process=TrainingProcess(1, "node", "job", 0.0, 0, 1000)), structure, sampled, readings,
          np.arange(1, steps + 1), np.arange(steps) * 0.1, random.uniform(0.1, 1.0, (steps, 1)))
store_run(folder / "ranks" / "0.sqlite", run)
"""
MERGE = """
import resource, sys, time
from pathlib import Path
from unvanish.record.storage.run_folder import load_folder

began = time.process_time()
run = load_folder(Path(sys.argv[1]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(len(run.facts.ranks), len(run.sampled), time.process_time() - began, peak)
"""
# Names the rank in a copy of the record: only its facts differ, and writing a thousand records anew would take longer than merging.
RENAME = """
import sys
from dataclasses import replace
from pathlib import Path
from unvanish.record.ranks.process import TrainingProcess
from unvanish.record.storage.journal import Journal, load
import shutil, sqlite3

folder, count = Path(sys.argv[1]), int(sys.argv[2])
first = folder / "ranks" / "0.sqlite"
facts = load(first).facts
for rank in range(1, count):
    path = folder / "ranks" / f"{rank}.sqlite"
    if not path.exists():
        shutil.copyfile(first, path)
        journal = Journal(sqlite3.connect(path, isolation_level=None))
        journal.write(facts=replace(facts, process=TrainingProcess(rank + 1, "node", "job", float(rank), rank, 1000)))
        journal.close()
"""


@dataclass(frozen=True, slots=True)
class Merge:
    """One merge: ranks, sampled steps, CPU seconds, and the largest resident memory of the process in MiB."""

    ranks: int
    samples: int
    seconds: float
    memory_mib: float


def measure(counts: tuple[int, ...] = COUNTS) -> list[Merge]:
    """A merge of each number of ranks, smallest first, each in a process of its own."""
    folder, merges = Path(tempfile.mkdtemp(prefix="unvanish-ranks-")), list[Merge]()
    try:
        _python(WRITE, str(folder), *map(str, (LAYERS, SAMPLES, STEPS)))
        for count in sorted(counts):
            _python(RENAME, str(folder), str(count))
            ranks, samples, seconds, memory = _python(MERGE, str(folder)).split()
            merges.append(Merge(int(ranks), int(samples), float(seconds), float(memory)))
    finally:
        shutil.rmtree(folder)
    return merges


def format_table(merges: list[Merge]) -> str:
    """The merges as lines of text."""
    lines = [f"{'ranks':>6}  {'sampled steps':>13}  {'CPU seconds':>11}  {'ms a rank':>9}  {'peak MiB':>8}"]
    for merge in merges:
        per_rank = 1e3 * merge.seconds / merge.ranks
        lines.append(f"{merge.ranks:6d}  {merge.samples:13d}  {merge.seconds:11.2f}  {per_rank:9.1f}  {merge.memory_mib:8.0f}")
    return "\n".join(lines)


def _python(code: str, *arguments: str) -> str:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    print(format_table(measure()))
