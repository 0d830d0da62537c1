"""Loads labelled training scripts, and runs each in a process and a folder of its own to record it with `unvanish run`."""

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
from unvanish.record.run import Run
from unvanish.record.storage.journal import load

PROJECT = Path(__file__).resolve().parents[2]
CASES_FOLDER = PROJECT.parent / "shared" / "cases"
TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled script: its text, its folder, and an expert's labels.

    `source` is the folder's name, `variation` what was changed in the original ("" for nothing). `findings` are the codes of root
    findings, `causes` of their causes, and `also` of symptoms that are no false alarms.
    """

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


def load_cases(folders: list[Path]) -> list[Case]:
    """All cases of these folders, each of which holds a `cases.json` and the scripts that it names."""
    loaded: list[Case] = []
    for folder in folders:
        for label in json.loads((folder / "cases.json").read_text()):
            code_sets = (frozenset(label.get(key) or ()) for key in ("findings", "causes", "also"))
            text = (folder / label["file"]).read_text()
            name = Path(label["file"]).stem
            loaded.append(Case(name, folder, text, folder.name, label["family"], label["healthy"], *code_sets, label))
    return loaded


def default_folders() -> list[Path]:
    """The folders of labelled cases that lie beside the repository; none where there are none."""
    return [folder for folder in (CASES_FOLDER, CASES_FOLDER / "literature") if (folder / "cases.json").exists()]


def run_script(case: Case, command: list[str], *, seconds: float = TIMEOUT_S) -> str:
    """The standard output of a command run in the folder of a copy of the script; "" where it failed or timed out."""
    data = next(parent / "data" for parent in case.folder.resolve().parents if (parent / "data").is_dir())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / case.folder.resolve().relative_to(data.parent)
        folder.mkdir(parents=True)
        (Path(scratch) / "data").symlink_to(data)
        (folder / case.file).write_text(case.text)
        environment = {**os.environ, "SEED": str(case.seed), "OMP_NUM_THREADS": "1"}
        try:
            process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            return ""
        return process.stdout if process.returncode == 0 else ""


def record_case(case: Case, store: Path, *, max_steps: int | None = None) -> Path:
    """The path of the record of the watched script, which is run unless the record exists already."""
    folder = store / case.name
    if not (folder / "run.sqlite").exists():
        shutil.rmtree(folder, ignore_errors=True)
        limit = ["--max-steps", str(max_steps)] if max_steps is not None else []
        command = [sys.executable, "-m", "unvanish", "run", "--quiet", *limit, "--out", str(folder.resolve()), case.file]
        run_script(case, command)
    return folder / "run.sqlite"


def record_cases(cases: list[Case], store: Path, *, jobs: int, max_steps: int | None = None) -> dict[str, Run | None]:
    """The run of every case by its name; None where the script left no record."""
    store.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        paths = list(pool.map(lambda case: record_case(case, store, max_steps=max_steps), cases))
    return {case.name: with_prediction(load(path)) if path.exists() else None for case, path in zip(cases, paths, strict=True)}


def make_variation(case: Case, variation: str, text: str, *, seed: int = 0) -> Case:
    """The case with another text or seed."""
    return replace(case, name=f"{case.name}~{variation.replace(' ', '-')}", text=text, variation=variation, seed=seed)
