"""A training that is interrupted or killed keeps its record: all but the step in flight."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from child_processes import Nursery, write
from scripts import STEP, loop

from unvanish.record.storage.journal import load

KILLED_AT = "if step == 29: import os, signal; sys.stdout.flush(); os.kill(os.getpid(), signal.{})"


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_killed_training_dies_of_its_signal_and_keeps_its_steps(name: str, tmp_path: Path, nursery: Nursery) -> None:
    write(tmp_path / "train.py", loop(60, STEP + KILLED_AT.format(name)))
    ended = nursery.run(tmp_path, "--every", "1", "train.py")
    assert ended.code == -getattr(signal, name)
    run = load(tmp_path / "run" / "run.sqlite")
    assert run.sampled.tolist()[:29] == list(range(1, 30))
    assert run.facts.ending == "running"


def test_ctrl_c_again_while_the_report_is_made_ends_at_once_and_keeps_the_record(tmp_path: Path, nursery: Nursery) -> None:
    """Interrupted every tenth of a second from the end of the training on, as by somebody who holds the keys down."""
    hold = "import os, subprocess; subprocess.Popen(['sh', '-c', f'for i in 1 2 3; do sleep 0.1; kill -INT {os.getpid()}; done'])"
    write(tmp_path / "train.py", loop(30, end=f"{hold}\nraise KeyboardInterrupt"))
    ended = nursery.run(tmp_path, "--every", "1", "train.py")
    assert ended.code == -signal.SIGINT, ended.err
    assert load(tmp_path / "run" / "run.sqlite").sampled.tolist()[:29] == list(range(1, 30))
