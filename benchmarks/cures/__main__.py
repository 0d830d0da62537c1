"""`python -m benchmarks.cures [FOLDER ...] [--each N] [--random N] [--healthy REMEDY ...]`: scripts cured, beside a coin; false
wins."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from benchmarks.cures.patients import Claim, Treated, claimed, treated
from benchmarks.diagnosis.corpus import Case, cases, default_folders
from unvanish.record.change import REMEDY_NAMES

DRAWN = 6  # as many as a first wave of a race


def curable(folders: list[Path], only: Sequence[str]) -> list[Case]:
    """The sick cases that some general remedy cures."""
    return [c for c in cases(folders) if not c.healthy and c.label.get("remedies") and (not only or c.name in only)]


def drawn(case: Case, turn: int) -> tuple[str, ...]:
    """As many remedies as a race begins with, drawn at random from the shelf."""
    return tuple(random.Random(f"{case.name}:{turn}").sample(sorted(REMEDY_NAMES), DRAWN))


def line(each: Treated) -> str:
    """One row."""
    closed = "no patch" if each.closed is None else f"{each.closed:.2f} closed"
    return f"  {each.case:6} {' + '.join(each.winner or ('nothing',)):44} {closed:12} {each.cost:5.1f} observed runs {each.said}"


def summary(name: str, rows: Sequence[Treated]) -> str:
    """The rows in a line."""
    cured = sum(each.cured for each in rows)
    share = cured / max(1, len(rows))
    return f"{name}: cured {cured} of {len(rows)} ({share:.0%}), median cost {median(e.cost for e in rows):.1f} observed runs"


def main() -> None:
    """Fixes every case and prints as it goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, help="folders with cases.json; by default those beside the repository")
    parser.add_argument("--only", nargs="*", default=[], help="names of cases")
    parser.add_argument("--each", type=int, default=1, metavar="N", help="every N-th case alone")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="races of remedies drawn at random, N for each case")
    parser.add_argument("--healthy", nargs="*", metavar="REMEDY", help="race these on the healthy cases, where none should win")
    given = parser.parse_args()
    folders = given.folders or default_folders()
    if given.healthy is not None:
        chosen = [c for c in cases(folders) if c.healthy and (not given.only or c.name in given.only)]
        print(report_healthy(chosen[:: given.each], given.healthy))
        return
    print(report(curable(folders, given.only)[:: given.each], turns=given.random))


def report(chosen: Sequence[Case], *, turns: int) -> str:
    """Cures by the findings' advice and, `turns` times a case, by remedies drawn at random in a race of the same kind."""
    if not chosen:
        return "no curable cases: name a folder that holds cases.json"
    parts = ["Cured: the patch applied, the script run alone on three seeds, 80 % of the gap between sick and cured closed"]
    rows = _each(chosen, lambda case: treated(case))
    parts.append(summary("as prescribed", rows))
    if turns:
        coin = [
            row for turn in range(turns) for row in _each(chosen, lambda case, turn=turn: treated(case, remedies=drawn(case, turn)))
        ]
        parts.append(summary(f"{DRAWN} remedies drawn at random", coin))
    return "\n".join(parts)


def report_healthy(chosen: Sequence[Case], remedies: Sequence[str]) -> str:
    """Races on healthy scripts, where a winner that other seeds do not confirm is a false one."""
    rows: list[Claim] = []
    for case in chosen:
        rows.append(claimed(case, remedies=remedies))
        last = rows[-1]
        print(
            f"  {last.case:6} {' + '.join(last.winner or ('nothing',)):44} {'' if last.confirmed else 'not confirmed'}", flush=True
        )
    won, false = sum(row.winner is not None for row in rows), sum(not row.confirmed for row in rows)
    return f"healthy scripts: {won} of {len(rows)} races claim an improvement, and other seeds do not confirm {false}"


def _each(chosen: Sequence[Case], act: Callable[[Case], Treated]) -> list[Treated]:
    rows: list[Treated] = []
    for case in chosen:
        rows.append(act(case))
        print(line(rows[-1]), flush=True)
    return rows


if __name__ == "__main__":
    main()
