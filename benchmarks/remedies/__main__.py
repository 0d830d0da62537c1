"""`python -m benchmarks.remedies [NAME ...] [--seeds 5]`: races remedies on their two experiments and stores the verdicts.

Each line: the remedy, the network, control and treated, their mean difference (positive is an improvement) with its 95 % interval,
and what a step takes and how many parameters there are against the control.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from benchmarks.remedies.experiments import EXPERIMENTS
from benchmarks.remedies.racing import race
from unvanish.record.races.stored_race import StoredRace, dumps
from unvanish.report.wording import numbers

VERDICTS_FOLDER = Path(__file__).resolve().parents[2] / "src" / "unvanish" / "remedies" / "verdicts"
SEEDS = 5


def format_table(races: Mapping[str, tuple[StoredRace, ...]]) -> str:
    """One line for each experiment."""
    return "\n".join(_format_row(name, stored) for name, stored_races in races.items() for stored in stored_races)


def store_races(races: Mapping[str, tuple[StoredRace, ...]], folder: Path) -> None:
    """Writes one JSON file for each remedy."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, stored_races in races.items():
        (folder / f"{name}.json").write_text(dumps(stored_races), encoding="utf-8")


def main() -> None:
    """Runs the races, stores and prints them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="remedies; by default all")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="trainings of each side, at least 3")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--to", type=Path, default=VERDICTS_FOLDER, help="the folder that gets a file for each remedy")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(EXPERIMENTS)):
        parser.error(f"no experiment is declared for {', '.join(unknown)}; there are {', '.join(EXPERIMENTS)}")
    if options.seeds < 3:
        parser.error("an interval from fewer than 3 seeds tells nothing")
    races = race(options.names or EXPERIMENTS, seeds=options.seeds, jobs=options.jobs)
    store_races(races, options.to)
    print(format_table(races))


def _format_row(name: str, stored: StoredRace) -> str:
    effect = stored.effect
    values = f"{numbers.format_number(effect.control)} -> {numbers.format_number(effect.treated)}"
    verdict = (
        f"{stored.outcome.value:6} {values:16} {numbers.format_signed(effect.effect)} {numbers.format_interval(*effect.interval)}"
    )
    cost = f"step {numbers.format_ratio(stored.step_time)} parameters {numbers.format_percent_change(stored.parameters)}"
    return f"{name:22} {stored.network[:44]:44} {verdict:48} {cost}"


if __name__ == "__main__":
    main()
