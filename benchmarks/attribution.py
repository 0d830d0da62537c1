"""`python -m benchmarks.attribution`: how often a trace names a planted fault first, over networks of every kind."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator

import torch
from tests.tracing.networks import SUBJECTS, subject
from tests.tracing.planting import BRANCHES, Trial, branch_trial, trial

TRIALS = 200


def measure(trials: int = TRIALS, *, seed: int = 0) -> dict[str, list[Trial]]:
    """The trials of each sort: a factor of 0.1 or 10 on one operation's gradient, the same on its values too, 30 on a branch."""
    torch.set_num_threads(1)
    sorts: dict[str, tuple[tuple[str, ...], Callable[..., Trial]]] = {
        "0.1 or 10 on a gradient": (tuple(SUBJECTS), lambda *case: trial(*case, silent=True)),
        "0.1 or 10 on a value": (tuple(SUBJECTS), lambda *case: trial(*case, silent=False)),
        "30 on a residual branch": (tuple(BRANCHES), branch_trial),
    }
    return {sort: list(_trials(names, run, trials, seed)) for sort, (names, run) in sorts.items()}


def _trials(names: tuple[str, ...], run: Callable[..., Trial], trials: int, seed: int) -> Iterator[Trial]:
    draw = random.Random(seed)
    for number in range(trials):
        name = names[number % len(names)]
        yield run(name, subject(name, seed=seed + number), draw)


def table(sorts: dict[str, list[Trial]]) -> str:
    """The share found of each sort, and every trial that was missed."""
    lines: list[str] = []
    for sort, trials in sorts.items():
        missed = [t for t in trials if not t.found]
        unseen = sum(t.unseen for t in trials)
        lines.append(
            f"{sort:26s} {len(trials) - len(missed):4d} of {len(trials)} named first ({1 - len(missed) / len(trials):.1%}); "
            f"{unseen} places out of every target's sight were drawn again"
        )
        lines += [
            f"    missed: {t.network}, {t.factor:g} at {t.place}, to {t.target}: "
            f"{t.planted:+.2f} beside {t.rival} {t.rival_decades:+.2f}"
            for t in missed
        ]
    return "\n".join(lines)


def main() -> None:
    """Plants, traces and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS, help="planted faults of each sort")
    print(table(measure(parser.parse_args().trials)))


if __name__ == "__main__":
    main()
