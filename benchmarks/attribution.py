"""`python -m benchmarks.attribution`: the share of planted gradient faults that a trace ranks first, over all network kinds."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator

import torch
from tests.tracing.fault_planting import BRANCHES, FaultTrial, run_branch_trial, run_trial
from tests.tracing.network_cases import CASES, build_case

TRIALS = 200


def measure(trials: int = TRIALS, *, seed: int = 0) -> dict[str, list[FaultTrial]]:
    """The trials of each kind of fault: a factor of 0.1 or 10 on a gradient, the same on values too, 30 on a branch."""
    torch.set_num_threads(1)
    fault_kinds: dict[str, tuple[tuple[str, ...], Callable[..., FaultTrial]]] = {
        "0.1 or 10 on a gradient": (tuple(CASES), lambda *case: run_trial(*case, silent=True)),
        "0.1 or 10 on a value": (tuple(CASES), lambda *case: run_trial(*case, silent=False)),
        "30 on a residual branch": (tuple(BRANCHES), run_branch_trial),
    }
    return {kind: list(_run_trials(names, run, trials, seed)) for kind, (names, run) in fault_kinds.items()}


def _run_trials(names: tuple[str, ...], run: Callable[..., FaultTrial], trials: int, seed: int) -> Iterator[FaultTrial]:
    generator = random.Random(seed)
    for number in range(trials):
        name = names[number % len(names)]
        yield run(name, build_case(name, seed=seed + number), generator)


def format_table(trials_by_kind: dict[str, list[FaultTrial]]) -> str:
    """The share of faults ranked first for each kind, and every trial in which one was not."""
    lines: list[str] = []
    for kind, trials in trials_by_kind.items():
        missed = [t for t in trials if not t.is_first]
        unseen = sum(t.unseen for t in trials)
        lines.append(
            f"{kind:26s} {len(trials) - len(missed):4d} of {len(trials)} named first ({1 - len(missed) / len(trials):.1%}); "
            f"{unseen} places out of every target's sight were drawn again"
        )
        lines += [
            f"    missed: {t.network}, {t.factor:g} at {t.place}, to {t.target}: "
            f"{t.planted:+.2f} beside {t.rival} {t.rival_decades:+.2f}"
            for t in missed
        ]
    return "\n".join(lines)


def main() -> None:
    """Runs the trials and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS, help="planted faults of each sort")
    print(format_table(measure(parser.parse_args().trials)))


if __name__ == "__main__":
    main()
