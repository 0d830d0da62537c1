"""Compiled scripts run watched as they do alone, each in a process of its own: a compiler that is loaded already hides faults."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from unvanish.record.run import Run
from unvanish.record.storage.journal import load

SCRIPT = Path(__file__).with_name("compiled_script.py")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
# The first form of a process meets a compiler that is not loaded yet.
PROCESSES = (
    ("eager", ("step", "module", "part", "loss")),
    ("aot_eager", ("autocast", "in place", "checkpoint", "function", "dynamic")),
    ("eager", ("reentrant checkpoint", "after the optimizer")),
    ("inductor", ("module",)),
)
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
CASES = [
    pytest.param(backend, forms, id=f"{backend}: {', '.join(forms)}", marks=[needs_compiler] if backend == "inductor" else [])
    for backend, forms in PROCESSES
]


def run(folder: Path, *command: str) -> str:
    """What the command prints on standard output; its exit code is 0."""
    process = subprocess.run(
        [sys.executable, *command], cwd=folder, env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=280
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.parametrize(("backend", "forms"), CASES)
def test_a_compiled_script_runs_as_it_does_alone_and_its_sites_are_recorded(
    backend: str, forms: tuple[str, ...], tmp_path: Path
) -> None:
    alone = run(tmp_path, str(SCRIPT), backend, *forms)
    watch = ("-m", "unvanish", "run", "--quiet", "--every", "3", "--out", "out", str(SCRIPT), backend, *forms)
    assert run(tmp_path, *watch) == alone
    record = load(tmp_path / "out" / "run.sqlite")
    assert record.facts.faults == ()
    assert record.step_count == 8 * len(forms)
    assert {"first", "middle.0", "middle.1", "last"} <= site_paths(record)


def site_paths(record: Run) -> set[str]:
    return {site.path for site in record.structure.sites}
