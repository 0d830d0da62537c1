"""What watching costs: the same script plain and watched, in turn (A B A B ...), each in a process of its own."""

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
FIGURES = ("wall", "cpu", "memory")


@dataclass(frozen=True, slots=True)
class Row:
    """The ratios of one workload and variant, watched over plain: median, least and greatest of the pairs, for each figure."""

    workload: str
    variant: str
    ratios: dict[str, tuple[float, float, float]]
    pairs: int


def measure(pairs: int) -> list[Row]:
    """One row for each workload and variant, from that many pairs."""
    return [_row(workload, name, options, pairs) for workload in WORKLOADS for name, options in VARIANTS]


def _row(workload: str, name: str, options: tuple[str, ...], pairs: int) -> Row:
    script = str(Path(__file__).parent / "workloads" / f"{workload}.py")
    ratios: dict[str, list[float]] = {figure: [] for figure in FIGURES}
    for _ in range(pairs):
        plain = _loop([sys.executable, script])
        with tempfile.TemporaryDirectory() as folder:
            watched = _loop([sys.executable, "-m", "unvanish", "run", "--quiet", "--out", f"{folder}/run", *options, script])
        for figure in FIGURES:
            ratios[figure].append(watched[figure] / plain[figure])
    return Row(workload, name, {f: (statistics.median(r), min(r), max(r)) for f, r in ratios.items()}, pairs)


def _loop(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name: float(value) for name, value in re.findall(r"(\w+)=(\S+)", done.stdout)}


def table(rows: list[Row]) -> str:
    """The rows as text."""
    lines = [f"{'workload':10s} {'variant':16s} " + " ".join(f"{f + ' (least, greatest)':28s}" for f in FIGURES)]
    for row in rows:
        figures = " ".join(f"{m:5.3f} ({low:5.3f}, {high:5.3f})        " for m, low, high in row.ratios.values())
        lines.append(f"{row.workload:10s} {row.variant:16s} {figures}")
    return "\n".join(lines)
