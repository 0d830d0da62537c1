"""`python -m benchmarks.remedies [NAME ...] [--seeds 5]`: races remedies on known trainings and stores what that proved.

Each line: the remedy, the network, control and treated, their mean difference (positive is an improvement) with its 95 % interval,
and what a step takes and how many parameters there are against the control.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from benchmarks.remedies.experiments import EXPERIMENTS
from benchmarks.remedies.racing import race
from unvanish.record.stored_race import StoredRace, dumps
from unvanish.report.wording import numbers

STORED = Path(__file__).resolve().parents[2] / "src" / "unvanish" / "remedies" / "verdicts"
SEEDS = 5


def table(races: Mapping[str, tuple[StoredRace, ...]]) -> str:
    """A line for each experiment."""
    return "\n".join(_line(name, each) for name, several in races.items() for each in several)


def store(races: Mapping[str, tuple[StoredRace, ...]], folder: Path) -> None:
    """Writes a file for each remedy."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, several in races.items():
        (folder / f"{name}.json").write_text(dumps(several), encoding="utf-8")


def main() -> None:
    """Races, prints and stores."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="remedies; by default all")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="trainings of each side, at least 3")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--to", type=Path, default=STORED, help="the folder that gets a file for each remedy")
    given = parser.parse_args()
    if unknown := sorted(set(given.names) - set(EXPERIMENTS)):
        parser.error(f"no experiment is declared for {', '.join(unknown)}; there are {', '.join(EXPERIMENTS)}")
    if given.seeds < 3:
        parser.error("an interval from fewer than 3 seeds tells nothing")
    races = race(given.names or EXPERIMENTS, seeds=given.seeds, jobs=given.jobs)
    store(races, given.to)
    print(table(races))


def _line(name: str, raced: StoredRace) -> str:
    effect = raced.effect
    values = f"{numbers.figure(effect.control)} -> {numbers.figure(effect.treated)}"
    proved = f"{raced.outcome.value:6} {values:16} {numbers.signed(effect.effect)} {numbers.interval(*effect.interval)}"
    cost = f"step {numbers.ratio(raced.step_time)} parameters {numbers.signed_percent(raced.parameters)}"
    return f"{name:22} {raced.network[:44]:44} {proved:48} {cost}"


if __name__ == "__main__":
    main()
