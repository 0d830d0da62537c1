"""Runs `unvanish fix` on a copy of a labelled script, applies its patch, and measures what the patched script scores."""

from __future__ import annotations

import json
import math
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.diagnosis.corpus import Case

CURED_GAP_CLOSED = 0.8  # of the gap between sick and cured, from which on a script counts as cured
TIMEOUT_S = 1200
RESULT_PATTERN = re.compile(r"RESULT metric=\S+ value=(\S+)")


@dataclass(frozen=True, slots=True)
class FixOutcome:
    """The outcome of fixing one script.

    `gap_closed` is the share of the gap between sick and cured that the patched script closes, None without a patch; `cost` is the
    CPU time of the fix over that of one watched run.
    """

    case: str
    winner: tuple[str, ...] | None
    gap_closed: float | None
    cost: float
    error: str

    @property
    def cured(self) -> bool:
        """Whether at least 80 % of the gap is closed."""
        return self.gap_closed is not None and self.gap_closed >= CURED_GAP_CLOSED


@dataclass(frozen=True, slots=True)
class HealthyRaceOutcome:
    """The winner of a race on a healthy script, if any, and whether other seeds confirm it: their mean score is better patched."""

    case: str
    winner: tuple[str, ...] | None
    is_confirmed: bool = True


def measure_fix(case: Case, *, remedies: Sequence[str] = (), seeds: int = 3) -> FixOutcome:
    """The outcome of a fix with `remedies`, by default those that the findings suggest; the patched script runs `seeds` times."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = copy_case(case, Path(scratch))
        _, watched_s = _run_python(["-m", "unvanish", "run", "--quiet", "--out", str(Path(scratch) / "run"), case.file], folder)
        document, output, cpu_s = _run_fix(case, folder, Path(scratch), remedies)
        if document is None:
            return FixOutcome(case.name, None, None, cpu_s / watched_s, output.strip().splitlines()[-1])
        winner = tuple(document["winner"]) if document["winner"] else None
        closed = None
        if document["patch"]:
            _apply_patch(document["patch"], folder)
            closed = compute_gap_closed(
                [_parse_result(_run_python([case.file], folder, seed=seed)[0]) for seed in range(seeds)], case.label
            )
        return FixOutcome(case.name, winner, closed, cpu_s / watched_s, "")


def measure_healthy_race(case: Case, *, remedies: Sequence[str], seeds: Sequence[int] = range(11, 17)) -> HealthyRaceOutcome:
    """The outcome of a race of these remedies on a healthy case, checked with other seeds."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = copy_case(case, Path(scratch))
        document, output, _ = _run_fix(case, folder, Path(scratch), remedies)
        if document is None:
            raise RuntimeError(f"{case.name}: {output.strip().splitlines()[-1]}")
        if not document["patch"]:
            return HealthyRaceOutcome(case.name, None)
        before = fmean(_parse_result(_run_python([case.file], folder, seed=seed)[0]) for seed in seeds)
        _apply_patch(document["patch"], folder)
        after = fmean(_parse_result(_run_python([case.file], folder, seed=seed)[0]) for seed in seeds)
        return HealthyRaceOutcome(
            case.name, tuple(document["winner"]), after > before if case.label.get("higher_is_better", True) else after < before
        )


def _run_fix(case: Case, folder: Path, scratch: Path, remedies: Sequence[str]) -> tuple[dict[str, Any] | None, str, float]:
    """The JSON document of a fix (None where it wrote none), its output, and its CPU seconds."""
    out = scratch / "out.json"
    options = [part for names in remedies for part in ("--remedy", names)]
    output, cpu_s = _run_python(["-m", "unvanish", "fix", "--quiet", "--json", str(out), *options, case.file], folder)
    return json.loads(out.read_text()) if out.is_file() else None, output, cpu_s


def _apply_patch(patch: str, folder: Path) -> None:
    subprocess.run(["git", "apply", "-"], cwd=folder, input=patch, text=True, check=True)


def compute_gap_closed(values: Sequence[float], label: dict[str, Any]) -> float:
    """The share of the way from the mean sick to the mean cured score, averaged over `values`; 0 for a value that is not finite.

    Where no sick score is finite, the score of guessing stands in for it; without one, any finite value counts as cured.
    """
    sick = [v for v in label["sick"] if isinstance(v, int | float) and math.isfinite(v)]
    baseline = sick or [v for v in [label.get("chance")] if v is not None]
    if not baseline:
        return float(all(map(math.isfinite, values)))
    low, high = fmean(baseline), fmean(label["cured"])
    return fmean(min(1.0, (v - low) / (high - low)) if math.isfinite(v) else 0.0 for v in values)


def copy_case(case: Case, scratch: Path) -> Path:
    """The folder of a copy of the case in a git repository of its own, with the data where the script expects it."""
    data = next(parent / "data" for parent in case.folder.resolve().parents if (parent / "data").is_dir())
    folder = scratch / case.folder.resolve().relative_to(data.parent)
    folder.mkdir(parents=True)
    (scratch / "data").symlink_to(data)
    shutil.copy(case.folder / case.file, folder)
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "case"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def _run_python(arguments: Sequence[str], folder: Path, *, seed: int = 0) -> tuple[str, float]:
    """The output of a Python command, and the CPU seconds of it and of all processes that it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "SEED": str(seed), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return process.stdout + process.stderr, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _parse_result(output: str) -> float:
    values = RESULT_PATTERN.findall(output)
    return float(values[-1]) if values else math.nan
