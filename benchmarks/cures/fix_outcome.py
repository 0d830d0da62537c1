"""Labelled scripts with a cure: fixed in a copy, the patch applied there, and the patched script run alone."""

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

CLOSED = 0.8  # of the gap between sick and cured: what counts as a cure
SECONDS = 1200
RESULT = re.compile(r"RESULT metric=\S+ value=(\S+)")


@dataclass(frozen=True, slots=True)
class Treated:
    """What a fix came to. `closed` is the share of the gap between sick and cured that the patched script closes, None without a
    patch; `cost` is the processor time of the fix over that of one observed run."""

    case: str
    winner: tuple[str, ...] | None
    closed: float | None
    cost: float
    said: str

    @property
    def cured(self) -> bool:
        """Whether enough of the gap is closed."""
        return self.closed is not None and self.closed >= CLOSED


@dataclass(frozen=True, slots=True)
class Claim:
    """What a race on a healthy script claims: its winner, if any, and whether seeds that it did not see bear that out: the mean of
    the script's own figure is better with the patch."""

    case: str
    winner: tuple[str, ...] | None
    confirmed: bool = True


def treated(case: Case, *, remedies: Sequence[str] = (), seeds: int = 3) -> Treated:
    """A case fixed, with the remedies that its findings ask for or with those given; its patch applied, and run alone."""
    with tempfile.TemporaryDirectory() as scratch:
        place = copy_of(case, Path(scratch))
        _, observed_s = _run(["-m", "unvanish", "run", "--quiet", "--out", str(Path(scratch) / "run"), case.file], place)
        told, text, spent_s = _fixed(case, place, Path(scratch), remedies)
        if told is None:
            return Treated(case.name, None, None, spent_s / observed_s, text.strip().splitlines()[-1])
        winner = tuple(told["winner"]) if told["winner"] else None
        closed = None
        if told["patch"]:
            _apply(told["patch"], place)
            closed = gap_closed([_value(_run([case.file], place, seed=seed)[0]) for seed in range(seeds)], case.label)
        return Treated(case.name, winner, closed, spent_s / observed_s, "")


def claimed(case: Case, *, remedies: Sequence[str], seeds: Sequence[int] = range(11, 17)) -> Claim:
    """What a race of these remedies claims on a healthy case, tried again with other seeds."""
    with tempfile.TemporaryDirectory() as scratch:
        place = copy_of(case, Path(scratch))
        told, text, _ = _fixed(case, place, Path(scratch), remedies)
        if told is None:
            raise RuntimeError(f"{case.name}: {text.strip().splitlines()[-1]}")
        if not told["patch"]:
            return Claim(case.name, None)
        before = fmean(_value(_run([case.file], place, seed=seed)[0]) for seed in seeds)
        _apply(told["patch"], place)
        after = fmean(_value(_run([case.file], place, seed=seed)[0]) for seed in seeds)
        return Claim(
            case.name, tuple(told["winner"]), after > before if case.label.get("higher_is_better", True) else after < before
        )


def _fixed(case: Case, place: Path, scratch: Path, remedies: Sequence[str]) -> tuple[dict[str, Any] | None, str, float]:
    """The document of a fix (None: it gave none), what it printed, and its processor time."""
    out = scratch / "out.json"
    asked = [part for names in remedies for part in ("--remedy", names)]
    text, spent_s = _run(["-m", "unvanish", "fix", "--quiet", "--json", str(out), *asked, case.file], place)
    return json.loads(out.read_text()) if out.is_file() else None, text, spent_s


def _apply(patch: str, place: Path) -> None:
    subprocess.run(["git", "apply", "-"], cwd=place, input=patch, text=True, check=True)


def gap_closed(values: Sequence[float], label: dict[str, Any]) -> float:
    """The share of the way from sick to cured, each the mean over seeds; 0 for a value that is no number.

    Where no sick value is a number, what guessing gives stands in, and else any number is a cure.
    """
    sick = [v for v in label["sick"] if isinstance(v, int | float) and math.isfinite(v)]
    worst = sick or [v for v in [label.get("chance")] if v is not None]
    if not worst:
        return float(all(map(math.isfinite, values)))
    low, high = fmean(worst), fmean(label["cured"])
    return fmean(min(1.0, (v - low) / (high - low)) if math.isfinite(v) else 0.0 for v in values)


def copy_of(case: Case, scratch: Path) -> Path:
    """The case in a git tree of its own, with the data where its path leads."""
    data = next(place / "data" for place in case.folder.resolve().parents if (place / "data").is_dir())
    place = scratch / case.folder.resolve().relative_to(data.parent)
    place.mkdir(parents=True)
    (scratch / "data").symlink_to(data)
    shutil.copy(case.folder / case.file, place)
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "case"]):
        subprocess.run(["git", *command], cwd=place, check=True)
    return place


def _run(arguments: Sequence[str], place: Path, *, seed: int = 0) -> tuple[str, float]:
    """The output of a Python command, and the processor time of it and of all that it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "SEED": str(seed), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=place, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout + done.stderr, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _value(text: str) -> float:
    found = RESULT.findall(text)
    return float(found[-1]) if found else math.nan
