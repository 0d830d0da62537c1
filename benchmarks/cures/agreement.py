"""`python -m benchmarks.cures.agreement [FOLDER ...] [--only NAME ...] [--each N]`: a race beside the full training of all."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cures.__main__ import curable
from benchmarks.cures.patients import SECONDS, copy_of
from benchmarks.diagnosis.corpus import Case, default_folders
from unvanish.record.journal import load
from unvanish.record.verdict import Outcome, RaceResult

AS_GOOD = (Outcome.CURED, Outcome.BETTER)


@dataclass(frozen=True, slots=True)
class Pair:
    """One script raced, and with every candidate trained to its end with every seed."""

    case: str
    raced: RaceResult
    full: RaceResult

    @property
    def agree(self) -> bool:
        """Whether both have the same winner, or the race's is, by the full training, as good as its winner: within its interval."""
        if self.raced.winner == self.full.winner:
            return True
        mine = next((v for v in self.full.verdicts if v.remedies == self.raced.winner and v.outcome in AS_GOOD), None)
        best = next((v for v in self.full.verdicts if v.remedies == self.full.winner), None)
        return mine is not None and best is not None and mine.effects[0].effect >= best.effects[0].interval[0]

    @property
    def share(self) -> float:
        """The steps of the race over those of the full training."""
        return _steps(self.raced) / _steps(self.full)


def _steps(race: RaceResult) -> int:
    return sum(trial.steps for trial in race.trials)


def raced(case: Case, *, full: bool) -> RaceResult:
    """The race of a case in a copy of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        place, out = copy_of(case, Path(scratch)), Path(scratch) / "out"
        subprocess.run(
            [sys.executable, "-m", "unvanish", "fix", "--quiet", "--out", str(out), *(["--full"] if full else []), case.file],
            cwd=place,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=SECONDS,
            check=False,
        )
        race = load(out / "run.sqlite").race
        assert race is not None
        return race


def report(chosen: Sequence[Case]) -> str:
    """One line a case as they come, and the sum."""
    pairs: list[Pair] = []
    for case in chosen:
        pairs.append(Pair(case.name, raced(case, full=False), raced(case, full=True)))
        last = pairs[-1]
        words = "as good" if last.agree else "another"
        print(
            f"  {last.case}  raced {last.raced.winner}, in full {last.full.winner}: {words}, {last.share:.2f} of the steps",
            flush=True,
        )
    agreed = sum(pair.agree for pair in pairs)
    mean = sum(pair.share for pair in pairs) / max(1, len(pairs))
    return f"the race finds a winner as good as full training in {agreed} of {len(pairs)}, with {mean:.2f} of the steps"


def main() -> None:
    """Races and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--each", type=int, default=1, metavar="N", help="every N-th case alone")
    given = parser.parse_args()
    print(report(curable(given.folders or default_folders(), given.only)[:: given.each]))


if __name__ == "__main__":
    main()
