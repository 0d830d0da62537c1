"""Labelled training scripts, and the records that watching them leaves. A script is run in a process and a folder of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unvanish.examination import with_prediction
from unvanish.record.journal import load
from unvanish.record.run import Run

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT.parent / "shared" / "cases"
SECONDS = 600


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled script: its text, where it lies, and what an expert says of it. `source` is the folder's name, `variation`
    what was changed of the original ("" for nothing)."""

    name: str
    folder: Path
    text: str
    source: str
    family: str
    healthy: bool
    findings: frozenset[str]
    causes: frozenset[str]
    also: frozenset[str]
    label: dict[str, Any]
    variation: str = ""
    seed: int = 0

    @property
    def file(self) -> str:
        """The file's name."""
        return f"{self.name.split('~')[0]}.py"


def cases(folders: list[Path]) -> list[Case]:
    """All cases of these folders, each of which holds a `cases.json` and the scripts that it names."""
    found: list[Case] = []
    for folder in folders:
        for label in json.loads((folder / "cases.json").read_text()):
            sets = (frozenset(label.get(key) or ()) for key in ("findings", "causes", "also"))
            text = (folder / label["file"]).read_text()
            name = Path(label["file"]).stem
            found.append(Case(name, folder, text, folder.name, label["family"], label["healthy"], *sets, label))
    return found


def default_folders() -> list[Path]:
    """The folders of labelled cases that lie beside the repository; none where there are none."""
    return [folder for folder in (CASES, CASES / "literature") if (folder / "cases.json").exists()]


def run_script(case: Case, command: list[str], *, seconds: float = SECONDS) -> str:
    """Standard output of a command that is run beside a copy of the case's script; "" where it failed or took too long."""
    data = next(place / "data" for place in case.folder.resolve().parents if (place / "data").is_dir())
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / case.folder.resolve().relative_to(data.parent)
        place.mkdir(parents=True)
        (Path(scratch) / "data").symlink_to(data)
        (place / case.file).write_text(case.text)
        environment = {**os.environ, "SEED": str(case.seed), "OMP_NUM_THREADS": "1"}
        try:
            done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout if done.returncode == 0 else ""


def record(case: Case, store: Path, *, max_steps: int | None = None) -> Path:
    """Where the record of the watched script lies; it is made unless it is there already."""
    folder = store / case.name
    if not (folder / "run.sqlite").exists():
        shutil.rmtree(folder, ignore_errors=True)
        limit = ["--max-steps", str(max_steps)] if max_steps is not None else []
        command = [sys.executable, "-m", "unvanish", "run", "--quiet", *limit, "--out", str(folder.resolve()), case.file]
        run_script(case, command)
    return folder / "run.sqlite"


def records(chosen: list[Case], store: Path, *, jobs: int, max_steps: int | None = None) -> dict[str, Run | None]:
    """The run of every case by its name; None where watching left no record."""
    store.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        paths = list(pool.map(lambda case: record(case, store, max_steps=max_steps), chosen))
    return {case.name: with_prediction(load(path)) if path.exists() else None for case, path in zip(chosen, paths, strict=True)}


def varied(case: Case, variation: str, text: str, *, seed: int = 0) -> Case:
    """The case with another text or seed."""
    return replace(case, name=f"{case.name}~{variation.replace(' ', '-')}", text=text, variation=variation, seed=seed)
