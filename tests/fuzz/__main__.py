"""Runs fuzzed programs with and without us, and prints how many end alike: `python tests/fuzz [COUNT] [--from SEED]`."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from comparison import SAMPLINGS, Comparison, comparison
from programs import compose


def main() -> int:
    """0 where all end alike."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=200)
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="SEED")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--quick", action="store_true", help="only with every step sampled, not also as by default")
    parser.add_argument("--show", action="store_true", help="print the source of each program that differs")
    options = parser.parse_args()
    samplings = SAMPLINGS[:1] if options.quick else SAMPLINGS
    seeds, lock = iter(range(options.first, options.first + options.count)), threading.Lock()

    def work(_: int) -> int:
        differing = 0
        with tempfile.TemporaryDirectory() as folder, comparison(Path(folder), samplings=samplings) as compared:
            while True:
                with lock:
                    seed = next(seeds, None)
                if seed is None:
                    return differing
                if seed > options.first and not (seed - options.first) % 20:
                    print(f"{seed - options.first} of {options.count}", file=sys.stderr, flush=True)
                report = examine(seed, compared, show=options.show)
                differing += bool(report)
                if report:
                    print(report, flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        differing = sum(pool.map(work, range(options.jobs)))
    print(f"{options.count - differing} of {options.count} programs end watched as they end alone")
    return int(differing > 0)


def examine(seed: int, compared: Comparison, *, show: bool) -> str:
    """What differs of the program of a seed, with the smallest program of its parts that differs; "" where nothing does."""
    program = compose(seed)
    if not (difference := compared.difference(program)):
        return ""
    print(f"seed {seed} differs: {program.names}\n    {difference}", file=sys.stderr, flush=True)
    small = compared.minimised(program)
    source = f"\n{small.render()}" if show else ""
    return f"seed {seed}: {small.names}\n    {compared.difference(small)}{source}"


if __name__ == "__main__":
    sys.exit(main())
