"""`python -m benchmarks [--pairs N]`: all tables."""

from __future__ import annotations

import argparse

from benchmarks import overhead, startup


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3, help="pairs of plain and watched runs for each row")
    pairs = parser.parse_args().pairs
    print("Watched over plain, time and peak memory of the training loop, pair by pair: median (least, greatest)")
    print(overhead.table(overhead.measure(pairs)))
    print(f"\nunvanish --help: {startup.cpu_seconds(pairs):.2f} CPU seconds (median of {pairs})")


if __name__ == "__main__":
    main()
