"""`python -m benchmarks [--pairs N]`: prints the tables of all benchmarks, in about fifty minutes on two cores."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks import attribution, overhead, rank_merge, ray_throughput, startup, theory_table, trace_cost
from benchmarks.cures import __main__ as cures
from benchmarks.cures import agreement
from benchmarks.diagnosis import __main__ as diagnosis
from benchmarks.diagnosis.corpus import default_folders


def main() -> None:
    """Runs the benchmarks and prints their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3, help="pairs of plain and watched runs for each row")
    pairs = parser.parse_args().pairs
    print("Watched over plain, time and peak memory of the training loop, pair by pair: median (least, greatest)")
    print(overhead.format_table(overhead.measure(pairs)))
    print(f"\nunvanish --help: {startup.measure_cpu_seconds(pairs):.2f} CPU seconds (median of {pairs})")
    print("\nTraced over one plain forward and backward pass, pair by pair: median (least, greatest)")
    print(trace_cost.format_table(trace_cost.measure(pairs), trace_cost.measure_peak_memory()))
    print("\nPlanted faults that a trace names first, networks of every kind")
    print(attribution.format_table(attribution.measure()))
    print()
    print(theory_table.report())
    print("\nRecords of many ranks merged into one")
    print(rank_merge.format_table(rank_merge.measure()))
    print("\nTrials on a Ray cluster of this machine, with one worker and with two")
    print(ray_throughput.format_table(ray_throughput.measure(1)))
    print("\nScripts fixed, every sixth of the labelled ones; `python -m benchmarks.cures --help` has all, and healthy ones")
    cases = cures.list_curable_cases(default_folders(), [])
    print(cures.report_sick(cases[::6], turns=1))
    print("\nThe race beside the full training of every candidate")
    print(agreement.report(cases[::12]))
    print("\nDiagnosis on labelled trainings, beside the peers; `python -m benchmarks.diagnosis --help` has variations and more")
    with tempfile.TemporaryDirectory() as store:
        print(diagnosis.report(default_folders(), store=Path(store), each=-1, jobs=2, short=True, cross=False))


if __name__ == "__main__":
    main()
