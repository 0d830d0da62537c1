"""A process that is killed at any moment leaves a file that opens and lacks at most the step in flight."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
from rows import assert_holds, model_structure, row

from unvanish.record.run import Run
from unvanish.record.storage.journal import load

KILLS = 16
WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from rows import model_structure, row
from unvanish.record.storage.journal import Journal
from unvanish.record.run import Facts

journal = Journal.create(Path(sys.argv[1]))
journal.write(facts=Facts(script="train.py"), structure=model_structure())
for step in range(1, 100_000):
    written = row(step)
    journal.write(reading=written.reading, marks=written.marks, metrics=written.metrics)
    print(step, flush=True)
"""


@contextmanager
def writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes to `path` until it is killed, and announces each step once it is committed."""
    command = [sys.executable, "-c", WRITER, str(path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def announced(process: subprocess.Popen[str], count: int) -> int:
    """Waits for so many more announcements; the last step announced."""
    assert process.stdout is not None
    return int([process.stdout.readline() for _ in range(count)][-1])


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_process_loses_at_most_the_step_in_flight(seed: int, tmp_path: Path) -> None:
    moment = random.Random(seed)
    with writer(tmp_path / "run.sqlite") as process:
        announced(process, moment.randint(1, 60))
        time.sleep(moment.random() * 0.003)
        process.kill()
        assert process.stdout is not None
        rest = process.stdout.read().split()
    last = int(rest[-1]) if rest else 0
    run = load(tmp_path / "run.sqlite")
    assert last <= len(run.sampled)
    assert not rest or len(run.sampled) <= last + 1
    assert_holds(run, [row(step) for step in range(1, len(run.sampled) + 1)])
    assert (run.facts.ending, run.structure) == ("running", model_structure())


def test_two_readers_see_whole_steps_while_a_third_process_writes(tmp_path: Path) -> None:
    runs: dict[str, list[Run]] = {"one": [], "two": []}
    with writer(tmp_path / "run.sqlite") as process:
        announced_count = announced(process, 5)

        def follow(reader: str) -> None:
            for _ in range(12):
                runs[reader].append(load(tmp_path / "run.sqlite"))

        readers = [Thread(target=follow, args=(name,)) for name in runs]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        after = announced(process, 5)
    for read in runs.values():
        counts = [len(run.sampled) for run in read]
        assert counts == sorted(counts)
        assert len(counts) == 12
        assert counts[0] >= announced_count
        assert after > announced_count
        assert_holds(read[-1], [row(step) for step in range(1, counts[-1] + 1)])
