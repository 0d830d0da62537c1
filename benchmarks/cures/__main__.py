"""`python -m benchmarks.cures [FOLDER ...] [--each N] [--random N] [--healthy REMEDY ...]`: scripts cured by fix and by random
remedies; false wins on healthy scripts."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.cures.fix_outcome import FixOutcome, HealthyRaceOutcome, measure_fix, measure_healthy_race
from benchmarks.diagnosis.corpus import Case, default_folders, load_cases
from unvanish.record.network_changes import REMEDY_NAMES

REMEDIES_DRAWN = 6  # as many as the first wave of a race


def list_curable_cases(folders: list[Path], only: Sequence[str]) -> list[Case]:
    """The sick cases that a remedy of unvanish cures; `only` are names, by default all."""
    return [c for c in load_cases(folders) if not c.healthy and c.label.get("remedies") and (not only or c.name in only)]


def draw_remedies(case: Case, turn: int) -> tuple[str, ...]:
    """As many remedies as a race begins with, drawn at random from the catalogue."""
    return tuple(random.Random(f"{case.name}:{turn}").sample(sorted(REMEDY_NAMES), REMEDIES_DRAWN))


def format_row(outcome: FixOutcome) -> str:
    """One line of the table."""
    closed = "no patch" if outcome.gap_closed is None else f"{outcome.gap_closed:.2f} closed"
    winner = " + ".join(outcome.winner or ("nothing",))
    return f"  {outcome.case:6} {winner:44} {closed:12} {outcome.cost:5.1f} observed runs {outcome.error}"


def format_summary(name: str, rows: Sequence[FixOutcome]) -> str:
    """The share cured and the median cost of the rows, in one line."""
    cured = sum(row.cured for row in rows)
    share = cured / max(1, len(rows))
    return f"{name}: cured {cured} of {len(rows)} ({share:.0%}), median cost {median(row.cost for row in rows):.1f} observed runs"


def main() -> None:
    """Fixes every case and prints each outcome as it comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="folders with cases.json; by default those beside the repository")
    parser.add_argument("--only", nargs="*", default=[], help="names of cases")
    parser.add_argument("--each", type=int, default=1, metavar="N", help="every N-th case alone")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="races of remedies drawn at random, N for each case")
    parser.add_argument("--healthy", nargs="*", metavar="REMEDY", help="race these on the healthy cases, where none should win")
    options = parser.parse_args()
    folders = options.folders or default_folders()
    if options.healthy is not None:
        cases = [c for c in load_cases(folders) if c.healthy and (not options.only or c.name in options.only)]
        print(report_healthy(cases[:: options.each], options.healthy))
        return
    print(report_sick(list_curable_cases(folders, options.only)[:: options.each], turns=options.random))


def report_sick(cases: Sequence[Case], *, turns: int) -> str:
    """Cures by the remedies that the findings suggest and, `turns` times a case, by as many drawn at random."""
    if not cases:
        return "no curable cases: name a folder that holds cases.json"
    parts = ["Cured: the patch applied, the script run alone on three seeds, 80 % of the gap between sick and cured closed"]
    rows = _measure_each(cases, lambda case: measure_fix(case))
    parts.append(format_summary("as prescribed", rows))
    if turns:
        random_rows = [
            row
            for turn in range(turns)
            for row in _measure_each(cases, lambda case, turn=turn: measure_fix(case, remedies=draw_remedies(case, turn)))
        ]
        parts.append(format_summary(f"{REMEDIES_DRAWN} remedies drawn at random", random_rows))
    return "\n".join(parts)


def report_healthy(cases: Sequence[Case], remedies: Sequence[str]) -> str:
    """Races on healthy scripts; a winner that other seeds do not confirm is a false win."""
    rows: list[HealthyRaceOutcome] = []
    for case in cases:
        rows.append(measure_healthy_race(case, remedies=remedies))
        last = rows[-1]
        print(
            f"  {last.case:6} {' + '.join(last.winner or ('nothing',)):44} {'' if last.is_confirmed else 'not confirmed'}",
            flush=True,
        )
    won, false_wins = sum(row.winner is not None for row in rows), sum(not row.is_confirmed for row in rows)
    return f"healthy scripts: {won} of {len(rows)} races claim an improvement, and other seeds do not confirm {false_wins}"


def _measure_each(cases: Sequence[Case], measure: Callable[[Case], FixOutcome]) -> list[FixOutcome]:
    rows: list[FixOutcome] = []
    for case in cases:
        rows.append(measure(case))
        print(format_row(rows[-1]), flush=True)
    return rows


if __name__ == "__main__":
    main()
