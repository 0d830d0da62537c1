"""One process rehearses and runs all scripts of this room's tests, since each that imports torch takes seconds to start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import programs
import pytest
import spots
from expected import EXPECTED
from patch_checks import EVERYWHERE, TOGETHER, Handled


@pytest.fixture(scope="session")
def handled(tmp_path_factory: pytest.TempPathFactory) -> Handled:
    folder = tmp_path_factory.mktemp("scripts")
    jobs: list[dict[str, Any]] = []
    for files in programs.PROGRAMS.values():
        jobs.append({"folder": put(folder / str(len(jobs)), files), "candidates": EVERYWHERE + TOGETHER})
    for name, text in spots.PROGRAMS.items():
        wanted = [[remedy] for program, remedy in EXPECTED if program == name]
        jobs.append({"folder": put(folder / str(len(jobs)), {"train.py": text}), "candidates": wanted})
    (folder / "jobs").write_text(json.dumps(jobs))
    process = Path(__file__).with_name("planning_by_hand.py")
    subprocess.run([sys.executable, str(process), str(folder / "jobs")], check=True, timeout=280)
    results = json.loads((folder / "jobs.results").read_text())
    count = len(programs.PROGRAMS)
    return Handled(
        dict(zip(programs.PROGRAMS, results[:count], strict=True)), dict(zip(spots.PROGRAMS, results[count:], strict=True))
    )


def put(folder: Path, files: dict[str, str]) -> str:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    return str(folder)
