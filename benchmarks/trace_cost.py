"""`python -m benchmarks.trace_cost [--pairs N]`: time and memory of a trace, over one plain forward and backward pass."""

from __future__ import annotations

import argparse
import gc
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unvanish.tracing import trace

BATCH, CLASSES = 64, 10
SHAPES = ((12, 512), (1_000, 32), (2_000, 32), (5_000, 32), (10_000, 32))  # layers, width
MEMORY_SHAPE = (10_000, 32)
MIB_PER_KIB = 1 / 1024  # in MiB


@dataclass(frozen=True, slots=True)
class TraceCost:
    """CPU seconds of a trace, its ratio to a plain step (median, least, greatest), pair by pair."""

    layers: int
    width: int
    seconds: float
    ratio: tuple[float, float, float]


def build_network(layers: int, width: int) -> nn.Sequential:
    """A plain tanh network."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(layer for _ in range(layers) for layer in (nn.Linear(width, width), nn.Tanh())), nn.Linear(width, CLASSES)
    )


def draw_batch(width: int) -> tuple[Tensor, Tensor]:
    """Inputs of shape (64, width) and labels of shape (64,)."""
    return torch.randn(BATCH, width), torch.randint(0, CLASSES, (BATCH,))


def run_plain_pass(model: nn.Module, inputs: Tensor, labels: Tensor) -> None:
    """One forward and backward pass, with the gradient of the input."""
    model.zero_grad()
    F.cross_entropy(model(inputs.clone().requires_grad_()), labels).backward()


def measure(pairs: int) -> list[TraceCost]:
    """One row for each shape: plain and traced in turn, after one of each that does not count."""
    torch.set_num_threads(1)
    return [_measure_cost(layers, width, pairs) for layers, width in SHAPES]


def _measure_cost(layers: int, width: int, pairs: int) -> TraceCost:
    model, (inputs, labels) = build_network(layers, width), draw_batch(width)
    steps: tuple[Callable[[], object], ...] = (
        lambda: run_plain_pass(model, inputs, labels),
        lambda: trace(model, inputs, labels),
    )
    seconds: list[tuple[float, float]] = []
    for _ in range(pairs + 1):
        first, second = (_cpu_seconds(step) for step in steps)
        seconds.append((first, second))
    ratios = [traced / single for single, traced in seconds[1:]]
    return TraceCost(
        layers, width, statistics.median(traced for _, traced in seconds[1:]), (statistics.median(ratios), min(ratios), max(ratios))
    )


def _cpu_seconds(step: Callable[[], object]) -> float:
    gc.collect()
    start = time.process_time()
    step()
    return time.process_time() - start


def measure_peak_memory() -> tuple[float, float, float]:
    """Peak memory of a trace over that of a plain step, each in a process of its own; and both in MiB, the model aside."""
    peaks = [_measure_peak_mib(kind) for kind in ("plain", "trace")]
    return peaks[1] / peaks[0], peaks[0], peaks[1]


def _measure_peak_mib(kind: str) -> float:
    command = [sys.executable, "-m", "benchmarks.trace_cost", "--peak", kind]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _raise_peak_mib(kind: str) -> float:
    """MiB by which one step raises this process's peak."""
    torch.set_num_threads(1)
    layers, width = MEMORY_SHAPE
    small, (inputs, labels) = build_network(2, width), draw_batch(width)
    step = run_plain_pass if kind == "plain" else trace
    step(small, inputs, labels)
    model = build_network(layers, width)
    if kind == "plain":
        inputs.requires_grad_()
    gc.collect()
    before = _peak_kib()
    step(model, inputs, labels)
    return (_peak_kib() - before) * MIB_PER_KIB


def _peak_kib() -> int:
    """KiB that this process has held at most. Not from getrusage, where a child begins with the peak of its parent."""
    return int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0])


def format_table(rows: list[TraceCost], memory: tuple[float, float, float]) -> str:
    """The rows as text, the growth of the cost per layer, and the peak memory."""
    lines = [f"{'layers x width':>16s} {'trace, CPU s':>13s} {'over plain (least, greatest)':>30s} {'ms per layer':>13s}"]
    for row in rows:
        middle, low, high = row.ratio
        ratio = f"{middle:5.2f} ({low:5.2f}, {high:5.2f})"
        lines.append(
            f"{f'{row.layers:,} x {row.width}':>16s} {row.seconds:13.3f} {ratio:>30s} {1e3 * row.seconds / row.layers:13.3f}"
        )
    deep = [row for row in rows if row.width == MEMORY_SHAPE[1]]
    growth = (deep[-1].seconds / deep[-1].layers) / (deep[0].seconds / deep[0].layers)
    lines.append(f"cost per layer at {deep[-1].layers:,} over that at {deep[0].layers:,} layers: {growth:.2f}")
    lines.append(
        f"peak memory at {MEMORY_SHAPE[0]:,} layers over plain: {memory[0]:.2f} ({memory[2]:.0f} over {memory[1]:.0f} MiB)"
    )
    return "\n".join(lines)


def main() -> None:
    """Runs the measurements and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5, help="pairs of plain and traced steps for each row")
    parser.add_argument("--peak", choices=("plain", "trace"), help="only print the MiB that one such step takes")
    options = parser.parse_args()
    print(_raise_peak_mib(options.peak) if options.peak else format_table(measure(options.pairs), measure_peak_memory()))


if __name__ == "__main__":
    main()
