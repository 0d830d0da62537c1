"""Runs and patches all programs of these tests in one process, since each process that imports torch takes seconds to start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import style_programs
import value_programs
from patch_results import COMBINATIONS, SINGLE_REMEDIES, PatchResults
from value_program_diffs import EXPECTED


@pytest.fixture(scope="session")
def patch_results(tmp_path_factory: pytest.TempPathFactory) -> PatchResults:
    folder = tmp_path_factory.mktemp("scripts")
    jobs: list[dict[str, Any]] = []
    for files in style_programs.PROGRAMS.values():
        jobs.append({"folder": write_files(folder / str(len(jobs)), files), "candidates": SINGLE_REMEDIES + COMBINATIONS})
    for name, text in value_programs.PROGRAMS.items():
        candidates = [[remedy] for program, remedy in EXPECTED if program == name]
        jobs.append({"folder": write_files(folder / str(len(jobs)), {"train.py": text}), "candidates": candidates})
    (folder / "jobs").write_text(json.dumps(jobs))
    process = Path(__file__).with_name("patch_process.py")
    subprocess.run([sys.executable, str(process), str(folder / "jobs")], check=True, timeout=280)
    results = json.loads((folder / "jobs.results").read_text())
    count = len(style_programs.PROGRAMS)
    return PatchResults(
        dict(zip(style_programs.PROGRAMS, results[:count], strict=True)),
        dict(zip(value_programs.PROGRAMS, results[count:], strict=True)),
    )


def write_files(folder: Path, files: dict[str, str]) -> str:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    return str(folder)
