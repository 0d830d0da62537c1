"""Measures the overhead of watching: the same script plain and watched, in turn (A B A B ...), each in a process of its own."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

WORKLOADS = ("mlp", "cnn")
VARIANTS: tuple[tuple[str, tuple[str, ...]], ...] = (("default budget", ()), ("--every 1", ("--every", "1")))
MEASURES = ("wall", "cpu", "memory")


@dataclass(frozen=True, slots=True)
class OverheadRow:
    """The ratios of one workload and variant, watched over plain: median, least and greatest of the pairs, by measure."""

    workload: str
    variant: str
    ratios: dict[str, tuple[float, float, float]]
    pairs: int


def measure(pairs: int) -> list[OverheadRow]:
    """One row for each workload and variant, each from `pairs` pairs of runs."""
    return [_measure_row(workload, name, options, pairs) for workload in WORKLOADS for name, options in VARIANTS]


def _measure_row(workload: str, name: str, options: tuple[str, ...], pairs: int) -> OverheadRow:
    script = str(Path(__file__).parent / "workloads" / f"{workload}.py")
    ratios: dict[str, list[float]] = {measure_name: [] for measure_name in MEASURES}
    for _ in range(pairs):
        plain = _run_loop([sys.executable, script])
        with tempfile.TemporaryDirectory() as folder:
            watched = _run_loop([sys.executable, "-m", "unvanish", "run", "--quiet", "--out", f"{folder}/run", *options, script])
        for measure_name in MEASURES:
            ratios[measure_name].append(watched[measure_name] / plain[measure_name])
    return OverheadRow(workload, name, {f: (statistics.median(r), min(r), max(r)) for f, r in ratios.items()}, pairs)


def _run_loop(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name: float(value) for name, value in re.findall(r"(\w+)=(\S+)", done.stdout)}


def format_table(rows: list[OverheadRow]) -> str:
    """The rows as text."""
    lines = [f"{'workload':10s} {'variant':16s} " + " ".join(f"{f + ' (least, greatest)':28s}" for f in MEASURES)]
    for row in rows:
        cells = " ".join(f"{m:5.3f} ({low:5.3f}, {high:5.3f})        " for m, low, high in row.ratios.values())
        lines.append(f"{row.workload:10s} {row.variant:16s} {cells}")
    return "\n".join(lines)
