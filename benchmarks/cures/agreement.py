"""`python -m benchmarks.cures.agreement [FOLDER ...] [--only NAME ...] [--each N]`: the winner of a race, beside that of full
training of every candidate."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cures.__main__ import list_curable_cases
from benchmarks.cures.fix_outcome import TIMEOUT_S, copy_case
from benchmarks.diagnosis.corpus import Case, default_folders
from unvanish.record.races.verdict import Outcome, RaceResult
from unvanish.record.storage.journal import load

IMPROVED = (Outcome.CURED, Outcome.BETTER)


@dataclass(frozen=True, slots=True)
class RaceComparison:
    """The race of one script, and one in which every candidate was trained to its end with every seed (`full`)."""

    case: str
    race: RaceResult
    full: RaceResult

    @property
    def agrees(self) -> bool:
        """Whether both have the same winner, or the race's winner is within the interval of the other one in full training."""
        if self.race.winner == self.full.winner:
            return True
        race_winner = next((v for v in self.full.verdicts if v.candidate == self.race.winner and v.outcome in IMPROVED), None)
        full_winner = next((v for v in self.full.verdicts if v.candidate == self.full.winner), None)
        return (
            race_winner is not None
            and full_winner is not None
            and race_winner.effects[0].effect >= full_winner.effects[0].interval[0]
        )

    @property
    def step_share(self) -> float:
        """The steps of the race over those of the full training."""
        return _count_steps(self.race) / _count_steps(self.full)


def _count_steps(race: RaceResult) -> int:
    return sum(trial.steps for trial in race.trials)


def run_race(case: Case, *, full: bool) -> RaceResult:
    """The race of a case, run in a copy; with `full`, every candidate is trained to its end."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = copy_case(case, Path(scratch)), Path(scratch) / "out"
        subprocess.run(
            [sys.executable, "-m", "unvanish", "fix", "--quiet", "--out", str(out), *(["--full"] if full else []), case.file],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=TIMEOUT_S,
            check=False,
        )
        race = load(out / "run.sqlite").race
        assert race is not None
        return race


def report(cases: Sequence[Case]) -> str:
    """Prints one line for each case as it ends, and returns the summary."""
    comparisons: list[RaceComparison] = []
    for case in cases:
        comparisons.append(RaceComparison(case.name, run_race(case, full=False), run_race(case, full=True)))
        last = comparisons[-1]
        verdict = "as good" if last.agrees else "another"
        print(
            f"  {last.case}  raced {last.race.winner}, in full {last.full.winner}: {verdict}, {last.step_share:.2f} of the steps",
            flush=True,
        )
    agreed = sum(comparison.agrees for comparison in comparisons)
    mean = sum(comparison.step_share for comparison in comparisons) / max(1, len(comparisons))
    return f"the race finds a winner as good as full training in {agreed} of {len(comparisons)}, with {mean:.2f} of the steps"


def main() -> None:
    """Runs the races and prints the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--each", type=int, default=1, metavar="N", help="every N-th case alone")
    options = parser.parse_args()
    print(report(list_curable_cases(options.folders or default_folders(), options.only)[:: options.each]))


if __name__ == "__main__":
    main()
